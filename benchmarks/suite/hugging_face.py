"""The architectures of this project as transformers has them, with random weights; speed does not depend on weights.

It imports nothing of this project: ``optimum_peer.py`` uses it where that is not installed.
"""

from __future__ import annotations

from typing import Any

TASK = "image-classification"
SIDES = {"siglip": 224, "cvt": 256, "radar": 224}
"""Name of a detector → side of its square input in pixels."""


def network(name: str, **sizes: Any) -> Any:
    """Return the architecture of a detector in evaluation mode; ``radar`` stands for its encoder alone, ViT-S/16.

    Args:
        name: Name of the detector.
        **sizes: Settings of its configuration that differ from the defaults.
    """
    import transformers

    models: Any = transformers
    if name == "siglip":
        return models.SiglipForImageClassification(models.SiglipConfig(num_labels=2, **sizes)).eval()
    if name == "cvt":
        return models.CvtForImageClassification(models.CvtConfig(num_labels=2, **sizes)).eval()
    small = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
    return models.ViTForImageClassification(models.ViTConfig(num_labels=2, **{**small, **sizes})).eval()


def processor(name: str, side: int) -> Any:
    """Return the image processor of published weights of the architecture, at ``side`` × ``side`` pixels."""
    import transformers

    models: Any = transformers
    if name == "cvt":
        return models.ConvNextImageProcessor(size={"shortest_edge": side})
    kind = models.SiglipImageProcessor if name == "siglip" else models.ViTImageProcessor
    return kind(size={"height": side, "width": side})


def pipeline(model: Any, prepare: Any) -> Any:
    """Return a ``transformers.pipeline`` on the CPU around a network and its image processor."""
    import transformers

    library: Any = transformers
    return library.pipeline(TASK, model=model, image_processor=prepare, device="cpu")
