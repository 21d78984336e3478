"""Packaged models of a few bytes: the registry never looks into a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_registry.manifest import FileRef, Normalize, PreprocessSpec, Resize, WholeImage, manifest_of
from deepfake_registry.store.local import LocalStorage
from deepfake_registry.store.registry import Registry

PREPROCESS = PreprocessSpec(
    crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
)


def write_package(folder: Path, version: str = "1", name: str = "tiny", content: bytes = b"weights", **fields) -> Path:
    """A packaged model with one file, ``<name>.onnx``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(content)
    file = FileRef(path=f"{name}.onnx", sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    manifest = manifest_of(
        name=name, version=version, architecture=name, preprocess=PREPROCESS, weights="trained",
        **{"files": {"onnx": file}, **fields},
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2))
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Write a packaged model; each version, or other content, has a folder of its own."""

    def make(version: str = "1", name: str = "tiny", content: bytes = b"weights", **fields: object) -> Path:
        folder = tmp_path / "packages" / f"{name}-{version}-{hashlib.sha256(content).hexdigest()[:6]}"
        return write_package(folder, version, name, content, **fields)

    return make


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry in a folder."""
    return Registry(LocalStorage(tmp_path / "registry"), cache=tmp_path / "cache")
