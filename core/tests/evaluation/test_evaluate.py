"""Judging a dataset gives exactly one result for each sample, whatever the sample is called and whatever it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from layouts import tar_bytes, write
from PIL import Image

import deepfake_core as df
from deepfake_core import Dataset, Sample
from deepfake_core.datasets.formats.shards import Shards
from deepfake_core.evaluation.evaluate import evaluate
from deepfake_core.evaluation.samples import is_video
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.handle.results import Result
from deepfake_core.testing import draw_face


@pytest.fixture
def detector(tiny: Path) -> Iterator[LoadedDetector]:
    with df.load("tiny") as loaded:
        yield loaded


def face_bytes(**options: object) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(draw_face(seed, 128)) for seed in range(3)]
    more = {"save_all": True, "append_images": frames[1:]} if options.get("format") == "GIF" else {}
    frames[0].save(buffer, **{"format": "PNG", **options, **more})
    return buffer.getvalue()


class Listed(Dataset):
    """Samples with given names, and what reading them gives."""

    def __init__(self, root: Path, content: dict[str, object]) -> None:
        super().__init__(root)
        self.content = content

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(self.root / name, False, "s", name) for name in self.content)

    def read(self, sample: Sample) -> Path | bytes:
        return self.content.get(sample.group) or sample.path  # type: ignore[return-value]


NAMES = ("a[1].png", "*.png", "gone.png", "b?.png", "**", "folder", "animated.gif", "list", "a1.png")


def test_one_result_for_each_sample_in_their_order(tmp_path: Path, detector: LoadedDetector) -> None:
    write(tmp_path, {"a1.png": face_bytes(), "b1.png": face_bytes(), "folder/c.png": face_bytes()})
    write(tmp_path, {"folder/d.png": face_bytes(), "animated.gif": face_bytes(format="GIF")})
    dataset = Listed(tmp_path, {name: [tmp_path / "a1.png"] * 3 if name == "list" else None for name in NAMES})
    judged = list(evaluate(detector, dataset))
    assert [sample.group for sample, _ in judged] == list(NAMES)
    assert [result.source for _, result in judged] == [str(tmp_path / name) for name in NAMES]
    verdicts = {sample.group: result.verdict for sample, result in judged}
    assert {name for name, verdict in verdicts.items() if verdict == "error"} == {*NAMES[:6], "list"}
    assert verdicts["a1.png"] not in ("error", "no_face")


def test_samples_of_archives_are_named_in_results(tmp_path: Path, detector: LoadedDetector) -> None:
    write(tmp_path, {"a.tar": tar_bytes({"1.png": face_bytes(), "1.cls": b"fake"})})
    ((sample, result),) = evaluate(detector, Shards(tmp_path))
    assert result.source == sample.name == f"{tmp_path / 'a.tar'}!1.png"


def test_a_video_is_what_was_judged_as_one(tmp_path: Path) -> None:
    result = {mode: Result("x", "real", 0.1, (), "d", "trained", mode=mode) for mode in ("video", "RGB", "")}
    member = Sample(tmp_path / "a.tar", False, "s", "g", member="clips/1.mp4")
    row = Sample(tmp_path / "rows.parquet", False, "s", "g", member="7")
    animated = Sample(tmp_path / "a.gif", False, "s", "g")
    frame = Sample(tmp_path / "1.png", False, "s", "g", frame=0)
    assert is_video(member)
    assert is_video(member, result[""])
    assert is_video(row, result["video"])
    assert not is_video(row)
    assert is_video(animated, result["video"])
    assert not is_video(animated, result["RGB"])
    assert not is_video(frame, result["video"])
