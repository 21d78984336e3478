"""Loading with the base installation, without torch; test_torch.py covers loading with torch."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake_core import load
from deepfake_core.errors import (
    ArtifactCorrupt,
    DeepfakeError,
    InputError,
    MissingExtra,
    UnknownDetector,
    WeightsUnavailable,
)

CROPS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
GOLDEN = [-0.329726, -0.319997, -0.307265]


def test_name_gives_packaged_weights_on_onnx_runtime(tiny: Path) -> None:
    detector = load("tiny")
    assert detector.spec is not None
    assert (detector.spec.name, detector.manifest.name) == ("tiny", "tiny")
    assert (detector.runtime.name, detector.runtime.device) == ("onnxruntime", "cpu")
    assert "tiny" in repr(detector)
    assert "untrained" in repr(detector)


def test_golden_logits(tiny: Path) -> None:
    outputs = load("tiny").score(CROPS[:3])
    np.testing.assert_allclose(outputs.logit, GOLDEN, atol=1e-5)
    assert outputs.evidence is not None
    assert outputs.evidence.shape == (3, 8, 8)


def test_package_folder_and_bare_file_answer_alike(tiny: Path, tmp_path: Path) -> None:
    (model,) = tiny.glob("*.onnx")
    bare = Path(shutil.copy(model, tmp_path / "model.onnx"))
    expected = load("tiny").score(CROPS).logit
    for path in (tiny, str(tiny), bare, str(bare)):
        np.testing.assert_array_equal(load(path).score(CROPS).logit, expected)


@pytest.mark.usefixtures("fresh_plugins")
def test_bare_file_runs_without_its_plugin() -> None:
    (model,) = (Path(__file__).parents[1] / "tiny_plugin/deepfake_tiny/weights").glob("*.onnx")
    detector = load(model)
    assert detector.spec is None
    assert detector.score(CROPS).logit.shape == (5,)


def test_folder_of_the_same_name_does_not_hide_a_detector(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("tiny").manifest.name == "tiny"
    with pytest.raises(ArtifactCorrupt, match="not a packaged model"):
        load("./tiny")


def test_detector_without_weights_says_what_helps(tiny: Path) -> None:
    with pytest.raises(WeightsUnavailable) as caught:
        load("tiny-bare")
    for help_ in ("dfbench train tiny-bare --data", "load('path/to/model.onnx')", "untrained=True"):
        assert help_ in str(caught.value)
    assert caught.value.reason.endswith("train it: dfbench train tiny-bare --data FOLDER --run-dir RUN")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_corrupt_package_is_never_run(tiny: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(tiny, tmp_path / "package"))
    (model,) = package.glob("*.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match=model.name):
        load(package)


def test_graph_that_onnx_runtime_refuses(tiny: Path, tmp_path: Path) -> None:
    (model,) = tiny.glob("*.onnx")
    # The manifest can be read, but the graph has operators that do not exist.
    (tmp_path / "model.onnx").write_bytes(model.read_bytes().replace(b"Conv", b"Kohl"))
    with pytest.raises(ArtifactCorrupt, match=r"model\.onnx: ONNX Runtime cannot load it"):
        load(tmp_path / "model.onnx")


def test_graph_whose_tensors_are_not_the_manifests(tiny: Path, tmp_path: Path) -> None:
    (model,) = tiny.glob("*.onnx")
    (tmp_path / "model.onnx").write_bytes(model.read_bytes().replace(b'"name":"logit"', b'"name":"other"'))
    with pytest.raises(ArtifactCorrupt, match="export it again"):
        load(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backend": "tensorrt"}, DeepfakeError, "unknown backend 'tensorrt'"),
        ({"device": "tpu"}, DeepfakeError, "unknown device 'tpu'"),
        ({"untrained": True, "backend": "onnxruntime"}, WeightsUnavailable, "runs in torch"),
    ],
)
def test_arguments_that_make_no_sense(
    tiny: Path, arguments: dict[str, object], error: type[DeepfakeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load("tiny", **arguments)  # type: ignore[arg-type]


def test_names_and_paths_that_do_not_exist(tiny: Path) -> None:
    with pytest.raises(UnknownDetector, match="did you mean 'tiny'"):
        load("tinny")
    with pytest.raises(InputError, match="no such file"):
        load("absent/model.onnx")
    with pytest.raises(InputError, match="no such file"):
        load(Path("absent"))


def test_backend_that_the_package_has_no_file_for(tiny: Path) -> None:
    (model,) = tiny.glob("*.onnx")
    with pytest.raises(WeightsUnavailable, match=r"backend 'torch' needs a \.safetensors file, and there is \.onnx"):
        load(model, backend="torch")


def test_cuda_that_this_build_lacks(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MissingExtra, match="onnxruntime-gpu"):
        load("tiny", device="cuda", backend="onnxruntime")


def test_torch_that_is_absent(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "deepfake_core.runtimes.torch", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'deepfake-(tiny|core)\[torch\]'"):
        load("tiny", backend="torch")
    with pytest.raises(MissingExtra, match=r"pip install 'deepfake-(tiny|core)\[torch\]'"):
        load("tiny").train("data")
    assert load("tiny").score(CROPS).logit.shape == (5,)


def test_session_is_shared_as_long_as_it_is_used(tiny: Path) -> None:
    from weakref import ref

    from deepfake_core.runtimes.onnxruntime import OnnxRuntime

    # Numbers of threads that no other test uses, whose detectors may still exist.
    first, second, other = load("tiny", threads=5), load(tiny, threads=5), load("tiny", threads=6)
    runtimes = [detector.runtime for detector in (first, second, other)]
    assert all(isinstance(runtime, OnnxRuntime) for runtime in runtimes)
    sessions = [runtime.session for runtime in runtimes if isinstance(runtime, OnnxRuntime)]
    assert sessions[0] is sessions[1]
    assert sessions[0] is not sessions[2]
    left = [ref(session) for session in sessions]
    del first, second, other, runtimes, sessions
    assert [session() for session in left] == [None, None, None], "a session that nobody uses is freed"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_batches_of_any_size(tiny: Path, count: int) -> None:
    detector = load("tiny")
    whole = detector.score(CROPS)
    parts = detector.score(CROPS, batch_size=count)
    np.testing.assert_allclose(parts.logit, whole.logit, atol=1e-6)
    assert whole.evidence is not None
    assert parts.evidence is not None
    np.testing.assert_allclose(parts.evidence, whole.evidence, atol=1e-6)


@pytest.mark.parametrize(
    "images", [CROPS.astype(np.float32), CROPS[0], CROPS[:, :32], CROPS[..., :1], CROPS[:0]], ids=lambda a: str(a.shape)
)
def test_score_refuses_what_is_no_batch_of_crops(tiny: Path, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        load("tiny").score(images)
