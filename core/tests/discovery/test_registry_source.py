"""Models of the registry, loaded by ``load("name@alias")``, for which the base installation is enough."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from deepfake_core import load
from deepfake_core.ensemble.ensemble import Ensemble
from deepfake_core.errors import (
    ArtifactCorrupt,
    DeepfakeError,
    MissingExtra,
    RegistryError,
    SignatureRefused,
    WeightsUnavailable,
)
from deepfake_registry.store.opening import open_registry
from deepfake_registry.store.registry import Registry

CROPS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def registry(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Registry named by the environment, with ``tiny@1``, ``tiny@2`` (which has onnx only) and two aliases."""
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEEPFAKE_REGISTRY_KEY", raising=False)
    return fill(open_registry(), tiny, tmp_path)


def fill(registry: Registry, weights: Path, tmp_path: Path) -> Registry:
    for version in ("1", "2"):
        folder = Path(shutil.copytree(weights, tmp_path / f"package-{uuid.uuid4().hex}"))
        fields = json.loads((folder / "manifest.json").read_text()) | {"version": version, "weights": "trained"}
        if version == "2":
            del fields["files"]["safetensors"]
        (folder / "manifest.json").write_text(json.dumps(fields))
        registry.push(folder)
    registry.move("tiny", "production", "1", reason="first")
    registry.move("tiny", "staging", "2", reason="to be tried")
    return registry


@pytest.mark.usefixtures("registry")
def test_a_version_and_an_alias_answer_as_the_packaged_model() -> None:
    expected = load("tiny").score(CROPS).logit
    for reference in ("tiny@1", "tiny@production", "tiny@staging"):
        detector = load(reference)
        assert detector.runtime.name == "onnxruntime"
        assert detector.spec is not None
        np.testing.assert_array_equal(detector.score(CROPS).logit, expected)


def test_the_origin_is_a_version_that_never_changes(registry: Registry) -> None:
    detector = load("tiny@production")
    assert detector.origin == {"name_or_path": "tiny@1"}
    registry.move("tiny", "production", "2", reason="better")
    assert load("tiny@production").manifest.version == "2"
    assert load(**detector.origin).manifest.version == "1"


def test_a_registry_on_this_machine_is_read_in_place(registry: Registry, tmp_path: Path) -> None:
    (artifact,) = load("tiny@1").artifacts
    assert artifact.path.is_relative_to(tmp_path / "registry")
    assert not (tmp_path / "cache").exists()


def test_files_from_elsewhere_go_through_the_cache(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    monkeypatch.setenv("DEEPFAKE_REGISTRY", f"memory://{uuid.uuid4().hex}")
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    fill(open_registry(), tiny, tmp_path)
    (artifact,) = load("tiny@production").artifacts
    assert artifact.path.is_relative_to(tmp_path / "cache")
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1  # only the file that runs
    data = artifact.path.read_bytes()
    artifact.path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactCorrupt, match="delete this copy"):
        load("tiny@production")


def test_a_flipped_bit_is_an_error_and_never_the_packaged_model(registry: Registry) -> None:
    (artifact,) = load("tiny@1").artifacts
    data = artifact.path.read_bytes()
    artifact.path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(ArtifactCorrupt, match=r"sha256 differs .*push the model again"):
        load("tiny@1")


@pytest.mark.usefixtures("registry")
def test_what_is_not_there() -> None:
    with pytest.raises(RegistryError, match=r"tiny@3: not in the registry .*versions: 1, 2; aliases: production, stag"):
        load("tiny@3")
    with pytest.raises(WeightsUnavailable, match=r"tiny@2: backend 'torch' needs a \.safetensors file"):
        load("tiny@2", backend="torch")
    with pytest.raises(DeepfakeError, match="weights go with the name of a detector"):
        load("tiny@1", weights="owner/name")


def test_a_required_signature(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    registry.sign(registry.resolve("tiny@1"), private)
    monkeypatch.setenv("DEEPFAKE_REGISTRY_KEY", str(public))
    assert load("tiny@production").manifest.version == "1"
    with pytest.raises(SignatureRefused, match=r"tiny@2 in .*: not signed"):
        load("tiny@staging")


@pytest.mark.usefixtures("registry")
def test_a_required_signature_is_never_skipped_for_want_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.pub").touch()
    monkeypatch.setenv("DEEPFAKE_REGISTRY_KEY", str(tmp_path / "key.pub"))
    monkeypatch.setitem(sys.modules, "model_signing", None)
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(MissingExtra, match=r"pip install 'deepfake-core\[sign\]'"):
        load("tiny@1")


@pytest.mark.usefixtures("registry")
def test_an_ensemble_keeps_versions_rather_than_aliases(registry: Registry, tmp_path: Path) -> None:
    together = Ensemble([load("tiny@production"), load("tiny@staging")])
    folder = together.save(tmp_path / "pair")
    registry.move("tiny", "production", "2", reason="better")
    again = load(folder)
    np.testing.assert_array_equal(again.score(CROPS).logit, together.score(CROPS).logit)
    assert "tiny@1" in (folder / "ensemble.json").read_text()


@pytest.mark.usefixtures("registry")
def test_it_needs_neither_torch_nor_fsspec() -> None:
    blocked = ("torch", "fsspec", "safetensors", "model_signing")
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        "from deepfake_core import load\n"
        "print(load('tiny@production').manifest.version)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.torch
@pytest.mark.usefixtures("registry")
def test_torch_runs_the_weights_of_the_same_version() -> None:
    onnx, torch = load("tiny@1"), load("tiny@1", backend="torch")
    np.testing.assert_allclose(torch.score(CROPS).logit, onnx.score(CROPS).logit, atol=1e-4)
    assert onnx.network is not None
