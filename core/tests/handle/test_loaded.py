from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deepfake_core import load
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.handle.results import Result
from deepfake_core.inputs.prepare import Prepared, Preparer
from deepfake_core.runtimes.base import Outputs, Runtime
from deepfake_core.testing import draw_face


@pytest.fixture
def detector(tiny: Path) -> LoadedDetector:
    return load("tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of five faces, with a damaged file and a picture without a face among them."""
    for seed in range(5):
        Image.fromarray(draw_face(seed)).save(tmp_path / f"{seed}.png")
    (tmp_path / "2a.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Image.new("RGB", (120, 90), "green").save(tmp_path / "3a.png")
    return tmp_path


def names(results: list[Result]) -> list[str]:
    return [Path(result.source).name for result in results]


def test_every_kind_of_single_input_gives_the_same_answer(detector: LoadedDetector, folder: Path) -> None:
    path = folder / "0.png"
    singles: list[Any] = [path, str(path), path.read_bytes(), np.asarray(Image.open(path)), Image.open(path)]
    results = [detector.predict(single) for single in singles]
    assert all(isinstance(result, Result) for result in results)
    (score,) = {result.p_fake for result in results}
    assert score is not None
    first = results[0]
    assert (first.width, first.height, first.mode, first.frames) == (256, 256, "RGB", 1)
    assert set(first.timings_ms) == {"decode", "faces", "crop", "inference"}
    box = first.faces[0].box
    assert 100 < box.width < 170
    assert 40 < box.y < 60


@pytest.mark.parametrize("form", ["folder", "pattern", "list", "generator", "array"])
def test_several_inputs_give_a_list(detector: LoadedDetector, folder: Path, form: str) -> None:
    paths = sorted(folder.glob("[0-4].png"))
    if form == "array":
        results = detector.predict(np.stack([draw_face(seed) for seed in range(5)]))
    else:
        inputs = {"folder": folder, "pattern": str(folder / "[0-4].png"), "list": paths, "generator": iter(paths)}
        results = detector.predict(inputs[form])
    assert isinstance(results, list)
    assert len(results) == (7 if form == "folder" else 5)


def test_lists_of_one_and_of_none_are_lists(detector: LoadedDetector, folder: Path) -> None:
    assert len(detector.predict([folder / "0.png"])) == 1
    assert len(detector.predict(str(folder / "0.pn*"))) == 1
    assert detector.predict([]) == []


def test_bad_single_input_is_an_error_result(detector: LoadedDetector, tmp_path: Path) -> None:
    for bad in (tmp_path / "absent.jpg", b"", b"<html>", "x" * 5000, np.zeros((0, 0, 3), np.uint8), ""):
        result = detector.predict(bad)
        assert (result.verdict, result.p_fake) == ("error", None), bad
        assert result.error


def test_batch_survives_bad_files_in_order(detector: LoadedDetector, folder: Path) -> None:
    expected = {f"{seed}.png": detector.predict(folder / f"{seed}.png").p_fake for seed in range(5)}
    for batch_size in (1, 2, 16):
        results = list(detector.stream(folder, batch_size=batch_size, workers=3))
        assert names(results) == ["0.png", "1.png", "2.png", "2a.png", "3.png", "3a.png", "4.png"]
        verdicts = {Path(result.source).name: result.verdict for result in results}
        assert verdicts["2a.png"] == "error"
        assert verdicts["3a.png"] == "no_face"
        for result in results:
            if (score := expected.get(Path(result.source).name)) is not None:
                assert result.p_fake == pytest.approx(score, abs=1e-6)


def test_evidence_and_crops_are_kept_when_asked_for(detector: LoadedDetector, folder: Path) -> None:
    face = detector.predict(folder / "0.png", evidence=True, keep_crops=True).faces[0]
    assert face.evidence.shape == (8, 8)
    assert face.crop.shape == (64, 64, 3)
    logit = detector.score(face.crop[None]).logit[0]
    assert logit == pytest.approx(face.logit, abs=1e-6), "the crop is what the network saw"
    plain = detector.predict(folder / "0.png").faces[0]
    assert plain.evidence is None
    assert plain.crop is None


def test_detector_can_be_used_from_several_threads(detector: LoadedDetector, folder: Path) -> None:
    answers: list[list[Result]] = [[], [], []]
    threads = [threading.Thread(target=lambda out=out: out.extend(detector.predict(folder))) for out in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 7


class _Recorder(Runtime):
    """Runtime that returns the brightness of each crop and records the size of every batch."""

    name = "recorder"

    def __init__(self, real: Runtime) -> None:
        self.manifest, self.device = real.manifest, "cpu"
        self.batches: list[int] = []

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        self.batches.append(len(images))
        return Outputs(images.mean((1, 2, 3)).astype(np.float32))


class _Slow(Preparer):
    """Preparer that returns black crops and counts its calls; inputs with an even number take longer."""

    started = 0

    def prepare(self, source: Any) -> Prepared:
        self.started += 1
        number = int(source.name.split("[")[1][:-1])
        if number % 2 == 0:
            time.sleep(0.01)
        prepared = super().prepare(source)
        crops = np.zeros((1, *self.spec.size, 3), np.uint8)
        faces = (*prepared.faces, *super().prepare(draw_face(0)).faces)[:1]
        return Prepared(source.name, 9, 9, "RGB", crops, faces, (None,), 1, "", {})


@pytest.fixture
def recorded(detector: LoadedDetector) -> tuple[LoadedDetector, _Recorder, _Slow]:
    runtime = _Recorder(detector.runtime)
    loaded = LoadedDetector(detector.spec, runtime)
    preparer = _Slow(detector.manifest.preprocess)
    loaded._preparers[()] = preparer
    return loaded, runtime, preparer


def pictures(count: int) -> NDArray[np.uint8]:
    return np.zeros((count, 9, 9, 3), np.uint8)


def test_results_come_in_the_order_of_the_inputs_whatever_is_ready_first(
    recorded: tuple[LoadedDetector, _Recorder, _Slow],
) -> None:
    loaded, runtime, _ = recorded
    results = list(loaded.stream(pictures(30), batch_size=4, workers=4))
    assert [result.source for result in results] == [f"<array>[{number}]" for number in range(30)]
    assert sum(runtime.batches) == 30
    assert max(runtime.batches) <= 4


def test_only_so_much_is_prepared_ahead(recorded: tuple[LoadedDetector, _Recorder, _Slow]) -> None:
    loaded, _, preparer = recorded
    stream = loaded.stream(pictures(200), batch_size=3, workers=2)
    next(stream)
    time.sleep(0.2)  # enough time to prepare far more inputs if there were no limit
    assert preparer.started <= 3 + (3 + 2)
    stream.close()
    started = preparer.started
    time.sleep(0.2)
    assert preparer.started == started, "nothing is prepared for a stream that was closed"


def test_inputs_are_read_as_results_are_taken(recorded: tuple[LoadedDetector, _Recorder, _Slow]) -> None:
    loaded, _, _ = recorded
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield pictures(1)

    stream = loaded.stream(endless(), batch_size=2, workers=2)
    assert [next(stream).source for _ in range(6)] == ["<array>[0]"] * 6
    stream.close()
    assert taken < 20


def prepare_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("deepfake-prepare")]


def test_failing_runtime_ends_the_stream_and_its_work(
    recorded: tuple[LoadedDetector, _Recorder, _Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, runtime, _ = recorded

    def fail(images: NDArray[np.uint8]) -> Outputs:
        raise MemoryError

    monkeypatch.setattr(runtime, "run", fail)
    with pytest.raises(MemoryError):
        list(loaded.stream(pictures(20)))
    others = set(prepare_threads())
    loaded.close()
    assert len(prepare_threads()) < len(others)
