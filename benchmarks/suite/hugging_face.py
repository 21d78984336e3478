"""The architectures here as transformers has them, with random weights, on which speed does not depend.

It imports nothing of this project: ``optimum_peer.py`` uses it where that is not installed.
"""

from __future__ import annotations

from typing import Any

TASK = "image-classification"
SIDES = {"siglip": 224, "cvt": 256, "radar": 224}
"""Name → pixels of the square input that the detector of that name takes."""


def network(name: str, **sizes: Any) -> Any:
    """The architecture of a detector, ready to judge; ``radar`` stands for its encoder alone, ViT-S/16.

    Args:
        name: Of the detector.
        **sizes: What its configuration has otherwise than by default.
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
    """What published weights of the architecture bring to prepare a picture for it, at ``side`` × ``side`` pixels."""
    import transformers

    models: Any = transformers
    if name == "cvt":
        return models.ConvNextImageProcessor(size={"shortest_edge": side})
    kind = models.SiglipImageProcessor if name == "siglip" else models.ViTImageProcessor
    return kind(size={"height": side, "width": side})


def pipeline(model: Any, prepare: Any) -> Any:
    """What judges a file on the CPU: ``transformers.pipeline`` around a network and what prepares its pictures."""
    import transformers

    library: Any = transformers
    return library.pipeline(TASK, model=model, image_processor=prepare, device="cpu")
