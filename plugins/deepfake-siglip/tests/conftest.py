"""Small SigLIP classifiers as the Transformers library writes them, in a folder or in the Hub's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

SMALL = {"image_size": 64, "patch_size": 16, "hidden": 32, "intermediate": 64, "layers": 2, "heads": 4}
COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
README = "---\nlicense: apache-2.0\n---\n# A classifier\n"


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """A repository with ``fake`` as its class 0, as the documented checkpoint has it."""
    import torch

    from deepfake_core.runtimes.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    from transformers.models.siglip.configuration_siglip import SiglipConfig, SiglipTextConfig, SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.siglip.modeling_siglip import SiglipForImageClassification

    vision = SiglipVisionConfig(
        image_size=64, patch_size=16, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    text = SiglipTextConfig(bos_token_id=None, eos_token_id=None)
    config = SiglipConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), id2label={0: "fake", 1: "real"}, num_labels=2
    )
    torch.manual_seed(0)
    model = SiglipForImageClassification(config)
    model.classifier.bias.data = torch.tensor([0.3, -0.2])  # zero at first, which would hide a swapped bias
    folder = tmp_path_factory.mktemp("published")
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 64, "width": 64}, resample=2).save_pretrained(folder)
    (folder / "README.md").write_text(README)
    return folder


@pytest.fixture
def repository(published, tmp_path) -> Path:
    """A copy of the repository, to spoil."""
    return Path(shutil.copytree(published, tmp_path / "copy"))


@pytest.fixture
def edit(repository) -> Callable[..., None]:
    """Change settings of one of its JSON files; ``None`` takes a setting out."""

    def change(file: str, **settings: Any) -> None:
        path = repository / file
        merged = json.loads(path.read_text()) | settings
        path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))

    return change


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Callable[[str, Path], Path]:
    """Put a folder's files into a fresh cache of the Hub, and the Hub out of reach."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", str(True))

    def put(repo: str, folder: Path) -> Path:
        storage = cache / f"models--{repo.replace('/', '--')}"
        snapshot = storage / "snapshots" / COMMIT
        for made in (storage / "blobs", storage / "refs", snapshot):
            made.mkdir(parents=True)
        (storage / "refs" / "main").write_text(COMMIT)
        for path in folder.iterdir():
            content = path.read_bytes()
            kind = hashlib.sha256 if path.suffix == ".safetensors" else hashlib.sha1
            blob = storage / "blobs" / kind(content).hexdigest()
            blob.write_bytes(content)
            (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
        return snapshot

    return put
