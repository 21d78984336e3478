"""A build of ONNX Runtime lists CUDA on every machine: what starts decides, and the CPU runs the model otherwise."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

from deepfake_core import load
from deepfake_core.errors import DeepfakeError
from deepfake_core.loading.backends import candidates
from deepfake_core.runtimes import onnxruntime as runtime
from deepfake_core.runtimes.base import note_once

CROPS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def gpu_build(monkeypatch):
    """ONNX Runtime lists CUDA; the result is what a session on CUDA does, which the test sets."""
    monkeypatch.delenv("DEEPFAKE_BACKEND", raising=False)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    on_cpu, does = runtime._session, {}

    def session(model: bytes, threads: int, device: str) -> Any:
        return does["on cuda"](model, threads) if device != "cpu" else on_cpu(model, threads, "cpu")

    monkeypatch.setattr(runtime, "_session", session)
    does["falls back"] = lambda model, threads: on_cpu(model, threads, "cpu")
    runtime.cuda_failure.cache_clear()
    note_once.cache_clear()
    yield does
    runtime.cuda_failure.cache_clear()
    note_once.cache_clear()


class OnCuda:
    """A session on CUDA that starts; a real model fails in its first run."""

    def __init__(self, model: bytes, threads: int) -> None:
        self.probe = model == runtime._PROBE
        self.real = ort.InferenceSession(model, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_inputs(self) -> Any:
        return self.real.get_inputs()

    def get_outputs(self) -> Any:
        return self.real.get_outputs()

    def run(self, *arguments: Any) -> Any:
        if not self.probe:
            raise RuntimeException("CUDA failure 2: out of memory ; GPU=0")
        return self.real.run(*arguments)


def raised(model: bytes, threads: int) -> Any:
    raise Fail("CUDA failure 35: CUDA driver version is insufficient\nfor CUDA runtime version")


def full(model: bytes, threads: int) -> Any:
    if model != runtime._PROBE:
        raise RuntimeException("Failed to allocate memory for requested buffer")
    return OnCuda(model, threads)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        ("falls back", "are missing or too old"),
        (raised, "driver version is insufficient for CUDA runtime version"),
        (full, "Failed to allocate memory"),
        (OnCuda, "out of memory"),
    ],
)
def test_a_gpu_that_does_not_start(tiny: Path, gpu_build, caplog, capsys, happens, reason):
    gpu_build["on cuda"] = gpu_build.get(happens, happens)
    with caplog.at_level(logging.WARNING, "deepfake.backends"):
        loaded = [load("tiny") for _ in range(2)]
    assert [(one.runtime.name, one.runtime.device) for one in loaded] == [("onnxruntime", "cpu")] * 2
    (note,) = caplog.messages
    assert reason in note
    assert "it runs on the CPU" in note
    assert "\n" not in note
    assert loaded[0].score(CROPS).logit.shape == (2,)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(DeepfakeError, match=rf"device '{device}'.*{reason}.*device='cpu'") as refused:
            load("tiny", backend="onnxruntime", device=device)
        assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""


def test_backends_are_chosen_as_on_a_cpu_where_the_gpu_does_not_start(gpu_build):
    gpu_build["on cuda"] = raised
    assert "onnxruntime" in candidates("auto", ("onnx", "safetensors"), "auto", "x")
    assert "torch" not in candidates("fastest", ("onnx", "safetensors"), "auto", "x")


def test_a_gpu_that_starts_is_taken(tiny: Path, gpu_build, monkeypatch):
    gpu_build["on cuda"] = OnCuda
    monkeypatch.setattr(OnCuda, "run", lambda self, *arguments: self.real.run(*arguments))
    assert load("tiny").runtime.device == "cuda"


def test_a_gpu_that_fills_up_later(tiny: Path, gpu_build, monkeypatch):
    gpu_build["on cuda"] = OnCuda
    fails = OnCuda.run
    monkeypatch.setattr(OnCuda, "run", lambda self, *arguments: self.real.run(*arguments))
    detector = load("tiny")
    monkeypatch.setattr(OnCuda, "run", fails)
    with pytest.raises(DeepfakeError, match=r"out of memory.*smaller batches"):
        detector.score(CROPS)


def test_the_probe_is_a_model_that_runs():
    assert runtime._session(runtime._PROBE, 1, "cpu").run(None, {"x": np.float32([-1.0])})[0] == [0.0]
