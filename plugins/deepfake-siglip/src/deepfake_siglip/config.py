"""Hyper-parameters of ``siglip``, and how they are read from a repository of the Hugging Face Hub."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from deepfake_core import ArtifactCorrupt, DetectorConfig, Interpolation, LabelMap, Normalize, Repository
from deepfake_siglip.plugin import REPOSITORY

ARCHITECTURE = "SiglipForImageClassification"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"

_VISION = {
    "hidden_size": "hidden",
    "intermediate_size": "intermediate",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "hidden_act": "activation",
    "layer_norm_eps": "layer_norm_eps",
    "vision_use_head": "pooling_head",
}
"""Setting in the repository's ``vision_config`` → field here. The defaults are the same in both."""
# Pillow's numbers for its resampling filters, which image processors of Transformers store.
_RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "area"}


class SiglipConfig(DetectorConfig):
    """Hyper-parameters of :class:`~deepfake_siglip.detector.Siglip`; the defaults are those of SigLIP-B/16.

    Attributes:
        image_size: Side of the square input in pixels, a multiple of ``patch_size``.
        patch_size: Side of a patch in pixels.
        hidden: Width of a token.
        intermediate: Width inside of each block's MLP.
        layers: Number of blocks.
        heads: Number of attention heads in each block.
        activation: Activation function of the MLPs.
        layer_norm_eps: Term that the layer normalisations add to the variance.
        pooling_head: Whether the network has the vision tower's attention-pooling head. Classification never uses
            it; published weights contain it.
        labels: Index of each class among the rows of the classifier.
        normalize: Normalisation of the pixels per RGB channel.
        interpolation: Interpolation of the resize.
        margin: Crop margin: side of the crop divided by the longer side of the face box. ``None`` takes whole
            images, for which the published weights were made.
        pretrained_from: Repository or folder whose weights training starts from, including its classifier where it
            has one.
    """

    image_size: int = Field(224, gt=0)
    patch_size: int = Field(16, gt=0)
    hidden: int = Field(768, gt=0)
    intermediate: int = Field(3072, gt=0)
    layers: int = Field(12, gt=0)
    heads: int = Field(12, gt=0)
    activation: Literal["gelu_pytorch_tanh", "gelu", "quick_gelu"] = "gelu_pytorch_tanh"
    layer_norm_eps: float = Field(1e-6, gt=0)
    pooling_head: bool = True
    labels: LabelMap = LabelMap(real=1, fake=0)
    normalize: Normalize = Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    interpolation: Interpolation = "bicubic"
    margin: float | None = Field(None, gt=0.5, le=4)
    pretrained_from: str = REPOSITORY

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is no multiple of heads {self.heads}")
        if {self.labels.real, self.labels.fake} != {0, 1}:
            raise ValueError(f"labels must be 0 and 1, got {self.labels.real} and {self.labels.fake}")
        return self


def read_config(repository: Repository) -> SiglipConfig:
    """Read the hyper-parameters of a repository's classifier: network, labels and preprocessing.

    Args:
        repository: Repository of a ``SiglipForImageClassification``.

    Raises:
        WeightsUnavailable: A file is missing.
        ArtifactCorrupt: The architecture is another one, the labels are not one ``real`` and one ``fake``, or the
            preprocessing is not supported here.
    """
    stated = repository.json(CONFIG)
    source = str(repository.folder / CONFIG)
    kinds = stated.get("architectures") or [f"model type {stated.get('model_type')!r}"]
    if ARCHITECTURE not in kinds:
        raise ArtifactCorrupt(f"{source}: it is {', '.join(map(str, kinds))}, expected {ARCHITECTURE}")
    labels = _labels(stated, source)
    vision = stated.get("vision_config", {})
    if not isinstance(vision, dict) or vision.get("num_channels", 3) != 3:
        raise ArtifactCorrupt(f"{source}: vision_config must be an object, for 3 channels")
    fields = {field: vision[name] for name, field in _VISION.items() if name in vision}
    processor = repository.json(PREPROCESSOR)
    try:
        config = SiglipConfig.model_validate({**fields, **_preprocessing(processor), "labels": labels})
    except (ValidationError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactCorrupt(f"{repository.folder}: {where + ': ' if where else ''}{first['msg']}") from error
    if _side(processor) != config.image_size:
        raise ArtifactCorrupt(
            f"{repository.folder / PREPROCESSOR}: resizes to {processor.get('size')}, but {CONFIG} says "
            f"{config.image_size} pixels"
        )
    return config


def _labels(stated: Mapping[str, Any], source: str) -> LabelMap:
    """Return the label map that ``id2label`` states; it is never guessed.

    Raises:
        ArtifactCorrupt: There is no ``id2label``, or not exactly one name means real and one means fake.
    """
    names = stated.get("id2label")
    if not isinstance(names, dict):
        raise ArtifactCorrupt(
            f"{source}: has no id2label, so which class is fake is unknown; write it into a copy of the repository"
        )
    try:
        return LabelMap.from_names({int(index): str(name) for index, name in names.items()})
    except ValueError as error:
        raise ArtifactCorrupt(f"{source}: id2label: {error}; correct it in a copy of the repository") from error


def _preprocessing(processor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of :class:`SiglipConfig` that an image processor's settings correspond to.

    Raises:
        ValueError: A setting is missing, or its preprocessing is not supported here.
    """
    for step in ("do_resize", "do_rescale"):
        if processor.get(step, True) is not True:
            raise ValueError(f"{PREPROCESSOR}: {step} is {processor[step]}, expected true")
    if not math.isclose(processor.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-6):
        raise ValueError(f"{PREPROCESSOR}: rescale_factor is {processor['rescale_factor']}, expected 1/255")
    if processor.get("do_center_crop"):
        raise ValueError(f"{PREPROCESSOR}: do_center_crop is not offered")
    resample = processor.get("resample")
    if resample not in _RESAMPLE:
        raise ValueError(f"{PREPROCESSOR}: resample is {resample}, expected one of {', '.join(map(str, _RESAMPLE))}")
    normalize = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if processor.get("do_normalize", True):
        for name in normalize:
            if f"image_{name}" not in processor:
                raise ValueError(f"{PREPROCESSOR}: image_{name} is missing")
            normalize[name] = processor[f"image_{name}"]
    return {"interpolation": _RESAMPLE[resample], "normalize": normalize}


def _side(processor: Mapping[str, Any]) -> Any:
    """Return the side in pixels of the square that a processor resizes to; ``None`` where it is not a square."""
    size = processor.get("size")
    if not isinstance(size, dict):
        return size
    return size.get("height") if size.get("height") == size.get("width") else None
