"""The choice of a backend: by a fixed rule, or by timings that are cached for each model, machine and thread count."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from deepfake_core import load
from deepfake_core.discovery.artifacts import read_package
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError
from deepfake_core.loading.backends import candidates
from deepfake_core.runtimes import autotune
from deepfake_core.runtimes.base import Outputs, Runtime


@pytest.fixture
def artifact(tiny: Path):
    return read_package(tiny).artifact("onnx")


class Timed(Runtime):
    """Runtime that sleeps, then returns a constant logit."""

    name = "timed"
    device = "cpu"

    def __init__(self, artifact, seconds, logit=0.5):
        self.manifest, self.seconds, self.logit, self.runs = artifact.manifest, seconds, logit, 0

    def run(self, images):
        self.runs += 1
        time.sleep(self.seconds)
        return Outputs(np.full(len(images), self.logit, np.float32))


def test_the_faster_one_is_taken_and_remembered(artifact, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    runtimes = {"onnxruntime": Timed(artifact, 0.03), "openvino": Timed(artifact, 0.001)}
    openers = {name: lambda runtime=runtime: runtime for name, runtime in runtimes.items()}
    artifacts = dict.fromkeys(runtimes, artifact)
    assert autotune.fastest(openers, artifacts, 1) == "openvino"
    runs = [runtime.runs for runtime in runtimes.values()]
    assert min(runs) > 5
    assert autotune.fastest(openers, artifacts, 1) == "openvino"
    assert [runtime.runs for runtime in runtimes.values()] == runs
    autotune.fastest(openers, artifacts, 2)  # another number of threads needs a measurement of its own
    assert all(runtime.runs > before for runtime, before in zip(runtimes.values(), runs, strict=True))
    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    assert autotune.cached_timings(artifacts, 1) is None


@pytest.mark.parametrize(("share", "later"), [(0.05, "remembered"), (0.5, "measured again")])
def test_what_a_busy_machine_measured_is_soon_forgotten(artifact, tmp_path, monkeypatch, share, later):
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    monkeypatch.setattr(autotune.CpuContention, "share", lambda self: share)
    runtimes = {"onnxruntime": Timed(artifact, 0.01), "openvino": Timed(artifact, 0.001)}
    openers = {name: lambda runtime=runtime: runtime for name, runtime in runtimes.items()}
    artifacts = dict.fromkeys(runtimes, artifact)
    assert autotune.fastest(openers, artifacts, 1) == "openvino"
    runs = runtimes["openvino"].runs
    assert autotune.fastest(openers, artifacts, 1) == "openvino"
    assert runtimes["openvino"].runs == runs, "for the time being it is good enough"
    (file,) = tmp_path.rglob("*.json")
    os.utime(file, (0, time.time() - autotune.BRIEFLY_S - 1))
    autotune.fastest(openers, artifacts, 1)
    assert (runtimes["openvino"].runs > runs) == (later == "measured again")


def test_timings_of_an_older_version_are_measured_again(artifact, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    artifacts = dict.fromkeys(("onnxruntime", "openvino"), artifact)
    autotune.cache_timings(artifacts, 1, [autotune.Timing(name, 1.0, 0.0) for name in artifacts])
    assert autotune.cached_timings(artifacts, 1) is not None
    (file,) = tmp_path.rglob("*.json")
    timings = [{"backend": name, "ms": 1.0, "difference": 0.0, "reason": ""} for name in artifacts]
    file.write_text(json.dumps({"timings": timings, "others": 0.9}))
    assert autotune.cached_timings(artifacts, 1) is None


def test_a_small_lead_is_noise():
    first, close, ahead = (autotune.Timing(name, ms, 0.0) for name, ms in (("a", 10.0), ("b", 9.8), ("c", 8.0)))
    assert autotune.best([first, close]) == "a"
    assert autotune.best([first, close, ahead]) == "c"
    assert autotune.best([first]) == "a"


@pytest.mark.parametrize("logit", [0.6, float("nan")])
def test_one_that_answers_otherwise_is_left_out(artifact, logit, caplog):
    timings = autotune.measure({"right": lambda: Timed(artifact, 0.01), "wrong": lambda: Timed(artifact, 0.0, logit)})
    assert [timing.ms is None for timing in timings] == [False, True]
    assert autotune.best(timings) == "right"
    assert "wrong is left out: its logit differs" in caplog.text


def test_one_that_cannot_run_the_model_is_left_out(artifact, tmp_path, monkeypatch):
    class Fails(Timed):
        def run(self, images):
            raise RuntimeError("no such\noperator")

    def refuses():
        raise ArtifactCorrupt("cannot load it")

    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    for number, opened in enumerate((refuses, lambda: Fails(artifact, 0.0))):
        artifacts = dict.fromkeys(("onnxruntime", f"other{number}"), artifact)
        openers = {"onnxruntime": lambda: Timed(artifact, 0.01), f"other{number}": opened}
        assert autotune.fastest(openers, artifacts, 1) == "onnxruntime"
        assert autotune.cached_timings(artifacts, 1)[1].reason in ("cannot load it", "no such operator")
    with pytest.raises(ArtifactCorrupt):  # a file that the first backend cannot load is an error
        autotune.measure({"onnxruntime": refuses, "openvino": lambda: Timed(artifact, 0.0)})


def test_a_cache_that_cannot_be_written_is_no_obstacle(artifact, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "file"))
    openers = {"a": lambda: Timed(artifact, 0.01), "b": lambda: Timed(artifact, 0.0)}
    assert autotune.fastest(openers, {"a": artifact, "b": artifact}, 1) == "b"


def test_a_backend_that_does_not_exist_is_named(tiny, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_BACKEND", "tensorrt")
    with pytest.raises(DeepfakeError, match="DEEPFAKE_BACKEND='tensorrt': no such backend; use onnxruntime, openvino"):
        load(tiny)


@pytest.mark.openvino
def test_auto_times_nothing_and_takes_what_the_package_lists_first(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("DEEPFAKE_BACKEND", raising=False)
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    assert [load(tiny, threads=1).runtime.name for _ in range(2)] == ["onnxruntime"] * 2
    assert not list(tmp_path.rglob("*.json"))
    assert candidates("auto", ("openvino", "onnx", "safetensors"), "cpu", "x") == {"openvino": "openvino"}
    assert candidates("auto", ("safetensors", "onnx"), "cpu", "x") == {"onnxruntime": "onnx"}


@pytest.mark.openvino
def test_fastest_times_both_once(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("DEEPFAKE_BACKEND", raising=False)
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    loaded = load(tiny, threads=1, backend="fastest")
    (file,) = tmp_path.rglob("*.json")
    written = file.stat().st_mtime_ns
    again = load(tiny, threads=1, backend="fastest")
    assert file.stat().st_mtime_ns == written
    assert again.runtime.name == loaded.runtime.name
    assert again.load_ms["choice"] < loaded.load_ms["choice"]
    assert load(tiny, backend="openvino").runtime.name == "openvino"
    monkeypatch.setenv("DEEPFAKE_BACKEND", "openvino")
    assert load(tiny, threads=3, backend="fastest").runtime.name == "openvino"
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_gpu_that_onnxruntime_does_not_support_goes_to_torch(device, monkeypatch):
    monkeypatch.setattr("deepfake_core.runtimes.onnxruntime.cuda_failure", lambda device: "it does not start")
    monkeypatch.setattr("deepfake_core.loading.backends.find_spec", lambda name: object() if name == "torch" else None)
    monkeypatch.delenv("DEEPFAKE_BACKEND", raising=False)
    assert candidates("auto", ("onnx", "safetensors"), device, "x") == {"torch": "safetensors"}
    assert candidates("auto", ("onnx",), device, "x") == {"onnxruntime": "onnx"}  # its error names what is missing


def test_a_gpu_that_onnxruntime_supports_stays_there(monkeypatch):
    monkeypatch.setattr("deepfake_core.runtimes.onnxruntime.cuda_failure", lambda device: "")
    monkeypatch.delenv("DEEPFAKE_BACKEND", raising=False)
    assert candidates("auto", ("onnx", "safetensors"), "cuda", "x") == {"onnxruntime": "onnx"}
    assert candidates("fastest", ("onnx", "safetensors"), "auto", "x") == {"onnxruntime": "onnx"}
