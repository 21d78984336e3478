"""Models in torch: the same outputs as in ONNX Runtime, untrained networks, and errors that name a remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deepfake_core import load
from deepfake_core.contract.detector import Detector
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, PluginLoadError, WeightsUnavailable
from deepfake_core.runtimes.base import note_once
from deepfake_core.runtimes.torch import TorchRuntime, load_network, make_detector
from deepfake_registry.manifest import MANIFEST_KEY

CROPS = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


def weights_of(package: Path) -> Path:
    (file,) = package.glob("*.safetensors")
    return file


def test_runtimes_agree(tiny: Path) -> None:
    ours, reference = load("tiny").score(CROPS), load("tiny", backend="torch", device="cpu").score(CROPS)
    np.testing.assert_allclose(ours.logit, reference.logit, atol=1e-5)
    assert ours.evidence is not None
    assert reference.evidence is not None
    np.testing.assert_allclose(ours.evidence, reference.evidence, atol=1e-5)


def test_bare_safetensors_runs_in_torch(tiny: Path, tmp_path: Path) -> None:
    bare = shutil.copy(weights_of(tiny), tmp_path / "model.safetensors")
    detector = load(bare, device="cpu")
    assert detector.runtime.name == "torch"
    np.testing.assert_allclose(detector.score(CROPS).logit, load("tiny").score(CROPS).logit, atol=1e-5)


def test_packaged_weights_can_be_exported_from_any_runtime(tiny: Path, tmp_path: Path) -> None:
    path = load("tiny", backend="onnxruntime").export(out=tmp_path / "again.onnx")
    np.testing.assert_allclose(load(path).score(CROPS).logit, load("tiny").score(CROPS).logit, atol=1e-5)
    with pytest.raises(WeightsUnavailable, match="exported file only"):
        load(path).export(out=tmp_path / "third.onnx")
    with pytest.raises(DeepfakeError, match=r"unknown export format 'gguf'; installed: .*onnx"):
        load("tiny").export("gguf", out=tmp_path / "x")


def test_untrained_depends_on_its_seed_alone_and_says_so(tiny: Path) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    scores = [load("tiny-bare", untrained=True, seed=seed, device="cpu").score(CROPS).logit for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's random state is left alone"
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])
    detector = load("tiny-bare", untrained=True, device="cpu")
    assert detector.manifest.weights == "untrained"
    assert detector.predict(np.zeros((80, 80, 3), np.uint8)).weights == "untrained"


def test_weights_that_do_not_fit(tiny: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(tiny, tmp_path / "package"))
    manifest = load("tiny").manifest.embedded()
    state = load_file(weights_of(package))
    bare = tmp_path / "model.safetensors"
    wider = manifest.model_copy(update={"config": {**manifest.config, "width": 9}})
    save_file(state, bare, {MANIFEST_KEY: wider.model_dump_json()})
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors: its weights do not fit Tiny"):
        load(bare)
    strange = manifest.model_copy(update={"config": {"depth": 9}})
    save_file(state, bare, {MANIFEST_KEY: strange.model_dump_json()})
    with pytest.raises(PluginLoadError, match="configuration does not fit"):
        load(bare)
    save_file(state, bare, {MANIFEST_KEY: manifest.model_dump_json()})
    bare.write_bytes(bare.read_bytes()[:-10])
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors"):
        load(bare)


class _WithConstant(nn.Module):
    """Network with a constant that is not saved with its weights, and that a network on the meta device would lose."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("constant", torch.tensor(3.0), persistent=False)
        self.head = nn.Linear(3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (self.head(images.mean((2, 3))) * self.constant).squeeze(1)


class _ComputesWhileBuilt(nn.Module):
    """Network that reads the value of a tensor in its constructor, which the meta device of torch refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, int(torch.ones(1).item()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.mean((2, 3))).squeeze(1)


@pytest.mark.parametrize("kind", [_WithConstant, _ComputesWhileBuilt])
def test_networks_that_cannot_be_built_without_memory(tiny: Path, tmp_path: Path, kind: type[nn.Module]) -> None:
    class Own(Detector):
        preprocess = load("tiny").manifest.preprocess

        def build(self) -> nn.Module:
            return kind()

    network, manifest = Own().build(), Own().manifest("own", "trained")
    path = tmp_path / "own.safetensors"
    save_file(network.state_dict(), path, {MANIFEST_KEY: manifest.model_dump_json()})
    from deepfake_core.discovery.artifacts import read_bare

    loaded = load_network(Own(), read_bare(path))
    np.testing.assert_array_equal(
        TorchRuntime(loaded, manifest, device="cpu").run(CROPS).logit,
        TorchRuntime(network, manifest, device="cpu").run(CROPS).logit,
    )


def test_record_that_names_no_detector(tiny: Path) -> None:
    from dataclasses import replace

    spec = load("tiny").spec
    assert spec is not None
    with pytest.raises(PluginLoadError, match="no subclass"):
        make_detector(replace(spec, detector="collections:Counter"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_absent(tiny: Path) -> None:
    with pytest.raises(DeepfakeError, match="torch sees 0 CUDA devices; use device='cpu'"):
        load("tiny", backend="torch", device="cuda")
    assert load("tiny", backend="torch", device="auto").runtime.device == "cpu"


def test_a_driver_that_is_too_old(tiny: Path, monkeypatch, caplog) -> None:
    def too_old() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver is too old\nPlease update it", stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    note_once.cache_clear()
    assert load("tiny", backend="torch").runtime.device == "cpu"
    (note,) = caplog.messages
    assert note == "torch cannot use the GPU (CUDA initialization: The NVIDIA driver is too old); it runs on the CPU"
    with pytest.raises(DeepfakeError, match=r"torch sees 0 CUDA devices \(.*driver is too old\); use device='cpu'"):
        load("tiny", backend="torch", device="cuda")


@pytest.mark.parametrize("starts", [True, False])
def test_a_gpu_that_cannot_run_the_model(tiny: Path, monkeypatch, caplog, starts: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("deepfake_core.runtimes.torch._cuda_failure", lambda: "" if starts else "no kernel image")
    move = nn.Module.to

    def full(module: nn.Module, device: str) -> nn.Module:
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB\nmore lines")
        return move(module, device)

    monkeypatch.setattr(nn.Module, "to", full)
    note_once.cache_clear()
    detector = load("tiny", backend="torch")
    assert detector.runtime.device == "cpu"
    assert detector.score(CROPS).logit.shape == (4,)
    (note,) = caplog.messages
    assert ("CUDA out of memory" if starts else "no kernel image") in note
    assert "\n" not in note
    with pytest.raises(DeepfakeError, match=r"device 'cuda': torch cannot run the model there .*device='cpu'"):
        load("tiny", backend="torch", device="cuda")


def test_unknown_recipe_lists_those_there_are(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DeepfakeError, match=r"unknown recipe 'huge'; .*smoke"):
        load("tiny").train(tmp_path, "huge")


@pytest.mark.skipif(find_spec("timm") is None, reason="timm comes with the plugins that need it")
def test_timm_and_torchvision_import_beside_this_torch() -> None:
    code = (
        "from deepfake_core.runtimes.torchvision_ops import ensure_torchvision\n"
        "ensure_torchvision(); ensure_torchvision()\n"
        "import torchvision, timm\n"
        "assert timm.create_model('resnet10t').num_features\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
