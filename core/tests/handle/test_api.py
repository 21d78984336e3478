"""Properties that callers of the Python interface rely on, apart from the verdicts."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import deepfake_core as df
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.handle.results import Result, Results
from deepfake_core.inputs import faces
from deepfake_core.testing import draw_face


@pytest.fixture
def detector(tiny: Path):
    with df.load("tiny") as loaded:
        yield loaded


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(draw_face(0)).save(tmp_path / "face.png")
    return tmp_path / "face.png"


def test_an_open_file_is_one_input(detector: LoadedDetector, picture: Path) -> None:
    expected = detector.predict(picture)
    with picture.open("rb") as file:
        result = detector.predict(file)
    assert (result.p_fake, result.source) == (expected.p_fake, str(picture))
    assert detector(io.BytesIO(picture.read_bytes())).source == "<file>"
    assert [one.p_fake for one in detector([picture, io.BytesIO(picture.read_bytes())])] == [expected.p_fake] * 2
    assert detector.prepare(io.BytesIO(picture.read_bytes())).crops.shape == (1, 64, 64, 3)


def test_a_file_that_is_open_as_text_says_what_to_do(detector: LoadedDetector, picture: Path) -> None:
    with picture.open() as file, pytest.raises(df.InputError, match=r"binary mode|\"rb\"|'rb'"):
        detector.predict(file)


def test_a_second_call_starts_no_thread_and_makes_no_face_finder(
    detector: LoadedDetector, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    create = cv2.FaceDetectorYN.create
    monkeypatch.setattr(faces.cv2.FaceDetectorYN, "create", lambda *a: made.append(a) or create(*a))
    detector.predict(picture)
    detector.predict([picture] * 4)
    threads, finders = set(threading.enumerate()), len(made)
    assert finders >= 1
    detector.predict(picture)
    detector.predict([picture] * 4)
    assert set(threading.enumerate()) <= threads
    assert len(made) == finders


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_calls_grow_neither_memory_nor_handles(detector: LoadedDetector) -> None:
    image = draw_face(0)[::2, ::2]

    def used() -> tuple[int, int, int]:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    for _ in range(200):
        detector.predict(image)
    before = used()
    for _ in range(800):
        detector.predict(image)
    after = used()
    assert after[0] - before[0] < 8e6
    assert after[1:] == before[1:]


def test_close_gives_threads_back_and_a_later_call_takes_new_ones(detector: LoadedDetector, picture: Path) -> None:
    expected = detector.predict([picture] * 3)
    assert [t for t in threading.enumerate() if t.name.startswith("deepfake-prepare")]
    detector.close()
    detector.close()
    assert detector.predict([picture] * 3) == expected


@pytest.mark.parametrize("through_json", [False, True])
def test_a_result_comes_back_from_its_dictionary(detector: LoadedDetector, picture: Path, through_json: bool) -> None:
    result = detector.predict(picture, evidence=True, keep_crops=True)
    record = result.to_dict(arrays=True)
    again = Result.from_dict(json.loads(json.dumps(record)) if through_json else record)
    assert again == result
    assert again.timings_ms == result.timings_ms
    np.testing.assert_array_equal(again.faces[0].crop, result.faces[0].crop)
    np.testing.assert_array_equal(again.faces[0].evidence, result.faces[0].evidence)
    assert again.faces[0].crop.dtype == np.uint8
    plain = Result.from_dict(result.to_dict())
    assert plain == result
    assert plain.faces[0].crop is None


def test_a_result_without_a_face_comes_back(detector: LoadedDetector) -> None:
    for result in (detector.predict(b"no picture"), detector.predict(np.zeros((90, 90, 3), np.uint8))):
        assert Result.from_dict(result.to_dict()) == result


def test_results_become_a_table(detector: LoadedDetector, picture: Path) -> None:
    results = detector.predict([picture, b"no picture"])
    assert isinstance(results, Results)
    if find_spec("pandas") is None:
        with pytest.raises(df.MissingExtra, match=r"pip install '?pandas"):
            results.to_pandas()
        return
    table = results.to_pandas()
    assert list(table["verdict"]) == [result.verdict for result in results]
    assert table["p_fake"][0] == results[0].p_fake
    assert table["box_width"][0] == results[0].faces[0].box.width
    assert list(table["faces"]) == [1, 0]
    assert bool(np.isnan(table["logit"][1]))
    assert len(Results().to_pandas().columns) == len(table.columns)


def test_explain_gives_a_map_and_a_picture_for_each_face(
    detector: LoadedDetector, picture: Path, tmp_path: Path
) -> None:
    (explanation,) = detector.explain(picture)
    assert explanation.heat.method == "evidence"
    assert explanation.heat.values.shape == (64, 64)
    assert explanation.result == detector.predict(picture)
    assert explanation.sentence.endswith(".")
    protected = dataclasses.replace(explanation, face=dataclasses.replace(explanation.face, protected=True))
    assert "mark of protection" in protected.sentence
    assert protected.image().size[0] == explanation.image().size[0]
    assert explanation.save(tmp_path / "out.png").stat().st_size > 1000
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == explanation.image().size
    (hidden,) = detector.explain(picture, method="occlusion", target="real")
    assert (hidden.heat.method, hidden.heat.target) == ("occlusion", "real")
    assert detector.explain(np.zeros((90, 90, 3), np.uint8)) == []
    with pytest.raises(df.InputError, match="absent"):
        detector.explain(tmp_path / "absent.png")
    with pytest.raises(df.DeepfakeError, match="unknown explainer 'palm-reading'"):
        detector.explain(picture, method="palm-reading")


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "mps:1"])
def test_a_device_that_no_runtime_knows(tiny: Path, device: str) -> None:
    with pytest.raises(df.DeepfakeError, match=r"unknown device .*use auto, cpu, cuda, cuda:N or mps"):
        df.load("tiny", device=device)


@pytest.mark.torch
def test_devices_of_torch_are_taken(tiny: Path) -> None:
    torch = pytest.importorskip("torch")
    assert df.load("tiny", device=torch.device("cpu")).runtime.device == "cpu"
    if not torch.backends.mps.is_available():
        with pytest.raises(df.DeepfakeError, match="torch finds no Apple GPU"):
            df.load("tiny", device="mps", backend="torch")
