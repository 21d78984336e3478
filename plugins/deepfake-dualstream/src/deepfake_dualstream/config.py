"""Hyper-parameters of ``dualstream``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from deepfake_core import DetectorConfig

Backbone = Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"]
Filters = Annotated[int, Field(gt=0, le=4096)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class DualStreamConfig(DetectorConfig):
    """Hyper-parameters of :class:`~deepfake_dualstream.detector.DualStreamDetector`.

    Attributes:
        frames: Number T of frames of a clip.
        stride: Distance between two of them in frames of the video. Stored files call it ``skip``.
        size: Side of the crop in pixels, which is the input of the high-quality stream.
        low_size: Side in pixels of the input of the low-quality stream; it divides ``size``.
        margin: Crop margin: side of the crop divided by the longer side of the face box.
        high_backbone: EfficientNet of the high-quality stream.
        low_backbone: EfficientNet of the low-quality stream.
        projection: Channels of both streams before their ConvLSTMs.
        filters: Channels of the ConvLSTMs of each stream; there is one layer for each number.
        embedding: Length of the vector that describes one stream.
        fusion: Way to combine the two streams. ``attention`` gives each a weight, ``self_attention`` lets them attend
            to each other, ``gate`` mixes them element by element, ``concat`` leaves them as they are.
        attention_heads: Number of heads of ``self_attention``; it divides ``embedding``.
        hidden: Widths of the classifier's hidden layers.
        dropout: Dropout after each of the classifier's hidden layers.
    """

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    frames: int = Field(10, gt=0, le=256)
    stride: int = Field(3, gt=0, alias="skip")
    size: int = Field(224, ge=32, multiple_of=2)
    low_size: int = Field(112, ge=16)
    margin: float = Field(1.3, gt=0.5, le=4)
    high_backbone: Backbone = "b4"
    low_backbone: Backbone = "b0"
    projection: int = Field(256, gt=0)
    filters: tuple[Filters, ...] = Field((256, 128), min_length=1)
    embedding: int = Field(256, gt=0)
    fusion: Literal["attention", "self_attention", "concat", "gate"] = "attention"
    attention_heads: int = Field(4, gt=0)
    hidden: tuple[Filters, ...] = Field((256, 128), min_length=1)
    dropout: tuple[Dropout, ...] = (0.5, 0.3)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.size % self.low_size:
            raise ValueError(f"low_size={self.low_size} must divide size={self.size}")
        if len(self.dropout) != len(self.hidden):
            raise ValueError(f"dropout needs {len(self.hidden)} values, one for each of hidden={self.hidden}")
        if self.fusion == "self_attention" and self.embedding % self.attention_heads:
            raise ValueError(f"attention_heads={self.attention_heads} must divide embedding={self.embedding}")
        return self
