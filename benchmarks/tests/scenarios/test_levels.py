"""Videos and pictures are never in one figure, whatever their files are called, and each fake has its real samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.predictions import by_level, by_source, read_predictions, write_predictions
from deepfake_bench.scenarios.samples import describe, read_dataset
from deepfake_core.datasets import Sample
from deepfake_core.handle.results import FaceResult, Result
from deepfake_core.inputs.boxes import Box


def judged(name: str, *, video: bool, fake: bool = False, source: str = "s"):
    face = FaceResult(Box(0, 0, 9, 9), 0.9, 0.5, 0.6, "fake", time_s=0.0 if video else None)
    result = Result(name, "fake", 0.6, (face,), "d", "trained", mode="video" if video else "RGB")
    return Sample(Path(name), fake, source, name), result


def test_a_video_keeps_its_level_in_the_file_of_scores(tmp_path: Path) -> None:
    pairs = [judged("rows.parquet", video=True), judged("a.gif", video=True), judged("b.gif", video=False)]
    write_predictions(tmp_path / "scores.csv", {"": pairs})
    for found in (by_level(pairs), by_level(read_predictions(tmp_path / "scores.csv")[""])):
        names = {level: [str(sample.path) for sample, _ in rows] for level, rows in found.items()}
        assert names == {"videos": ["rows.parquet", "a.gif"], "pictures": ["b.gif"]}


def test_animated_images_are_no_pictures_of_a_scenario(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((32, 32, 3), level, np.uint8)) for level in (0, 120, 250)]
    for kind in ("real", "fake"):
        (tmp_path / kind).mkdir()
        frames[0].save(tmp_path / kind / "1.png")
        frames[0].save(tmp_path / kind / "2.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "fake" / "3.mp4").touch()
    chosen = read_dataset(DatasetRef(name="set", layout="image-folder", path=str(tmp_path)), pictures=True)
    assert [sample.path.name for sample in chosen] == ["1.png", "1.png"]
    assert chosen.videos == 3
    reference = DatasetRef(name="set", layout="image-folder", path=str(tmp_path))
    assert describe(reference, chosen, 2).labels == "labels: 'real' → real (1), 'fake' → fake (1)"


def test_each_manipulation_is_measured_with_the_originals() -> None:
    pairs = [
        judged("000", video=False, source="ff"),
        judged("a", video=False, fake=True, source="ff/Deepfakes"),
        judged("b", video=False, fake=True, source="ff/FaceSwap"),
        judged("c", video=False, fake=True, source="elsewhere"),
    ]
    names = {source: [str(sample.path) for sample, _ in rows] for source, rows in by_source(pairs).items()}
    assert names == {"elsewhere": ["c"], "ff": ["000"], "ff/Deepfakes": ["000", "a"], "ff/FaceSwap": ["000", "b"]}
