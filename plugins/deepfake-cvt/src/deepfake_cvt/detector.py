"""CvT (Wu et al. 2021, arXiv 2103.15808) as a detector, or any timm backbone in its place."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from deepfake_core import (
    PRESETS,
    Detector,
    DetectorConfig,
    Distil,
    ExplainLayer,
    FaceCrop,
    LabelMap,
    Normalize,
    Pairs,
    Phase,
    PreprocessSpec,
    PseudoFakes,
    Resize,
    Schedule,
    TrainRecipe,
    WholeImage,
    split_parameters,
    two_phase,
)
from deepfake_cvt import backbones

LABELS = LabelMap(real=1, fake=0)
"""Order of the head's two logits, equal to that of the published system, whose checkpoints have it."""

DEFAULT = PRESETS["two-phase"]
"""Three epochs of the head alone at 1e-3, then five epochs of everything, the backbone at 1e-5."""


DISTILLED = TrainRecipe(
    phases=(Phase(steps=6000, lr=5e-4, schedule=Schedule(name="cosine", warmup=0.1)),),
    samples="pairs",
    batch_size=32,
    ema=0.999,
    pretrained=False,
    eval_every=600,
    save_every=100,
    monitor="auc_mean",
    workers=1,
    pairs=Pairs(
        pseudo=PseudoFakes(self_blend=0.35, composite=0.2, reconstruct=0.15, labelled=0.3),
        validation=200,
        autoencoder_steps=700,
        reconstructed=1500,
        small_until=0.6,
    ),
    distil=Distil(teacher="lite", weight=0.7, temperature=2.0),
)
"""From random weights on pairs without end, where a trained detector says what it sees in each picture."""


class CvtDetectorConfig(DetectorConfig):
    """Hyper-parameters of :class:`Cvt`.

    Attributes:
        backbone: ``cvt-13``, ``cvt-21``, or the timm name of any network that classifies images; ``cvt-test`` is a
            CvT of 57 thousand parameters for tests.
        image_size: Side of the square input in pixels, a multiple of 32.
        crop: ``face``: a square around each face. ``whole``: the whole image, without finding faces, for datasets of
            images that are cut to the face already.
        margin: Crop margin: side of the crop divided by the longer side of the face box. At 1.3, crops of ordinary
            photographs are framed like the images of FFHQ and of the dataset of 140k real and fake faces.
        pretrained_from: Hugging Face repository or local folder of the weights that CvT's training starts from; by
            default ``microsoft/<backbone>``. It must be empty for backbones of timm, which have their own.
    """

    backbone: str = Field("cvt-13", min_length=1)
    image_size: int = Field(256, ge=64, multiple_of=32)
    crop: Literal["face", "whole"] = "face"
    margin: float = Field(1.3, gt=0.5, le=4)
    pretrained_from: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.pretrained_from and self.backbone not in backbones.CVT:
            raise ValueError(f"pretrained_from is for CvT; timm knows where the weights of {self.backbone!r} are")
        return self


class CvtNetwork(nn.Module):
    """A backbone with a head of two logits, whose difference is the logit of the detector.

    Args:
        backbone: Network from images float32 [N, 3, H, W] to two logits [N, 2].
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float32 [N], fake minus real, for normalised images float32 [N, 3, H, W].

        They are the log odds of the softmax of both logits.
        """
        answer: Any = self.backbone(images)
        logits: Tensor = answer if isinstance(answer, Tensor) else answer.logits
        return logits[:, LABELS.fake] - logits[:, LABELS.real]


class Cvt(Detector):
    """A detector with a backbone of CvT or timm: by default CvT-13 at 256×256, whose head is trained first."""

    Config = CvtDetectorConfig
    config: CvtDetectorConfig
    recipes: ClassVar[Mapping[str, TrainRecipe]] = MappingProxyType(
        {
            "default": DEFAULT,
            "two-phase-1+1": two_phase(4, 1, 1),
            "two-phase-5+5": two_phase(5, 5, 5),
            "two-phase-10+10": two_phase(32, 10, 10),
            "two-phase-25+15": two_phase(32, 25, 15, backbone_lr=1e-4),
            "distilled": DISTILLED,
            "smoke": DEFAULT.smoke(),
        }
    )

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        size = self.config.image_size
        mean, std = backbones.statistics(self.config.backbone)
        # Nothing is random: validation, test and prediction see the same pixels.
        self.preprocess = PreprocessSpec(
            crop=FaceCrop(margin=self.config.margin) if self.config.crop == "face" else WholeImage(),
            resize=Resize(height=size, width=size),
            normalize=Normalize(mean=mean, std=std),
        )

    def build(self) -> nn.Module:
        return CvtNetwork(backbones.build(self.config.backbone, self.config.image_size))

    def init_pretrained(self, network: nn.Module, *, download: bool = False) -> None:
        """Load the backbone's public weights, by default those trained on ImageNet; the head stays as it is.

        Raises:
            WeightsUnavailable: The weights are not on disk, and may not or cannot be downloaded, or are another
                network's.
        """
        backbones.load_public(
            self.config.backbone,
            network.get_submodule("backbone"),
            self.config.pretrained_from,
            self.config.image_size,
            download=download,
        )

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        head = backbones.head(network.get_submodule("backbone"))
        own, others = split_parameters(network, [head])
        return {"backbone": others, "head": own}

    def checkpoint_modules(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return backbones.blocks(network.get_submodule("backbone"))

    def explain_layers(self, network: nn.Module) -> tuple[ExplainLayer, ...]:
        return backbones.explain_layers(network.get_submodule("backbone"))

    def attention_layers(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return backbones.attention_layers(network.get_submodule("backbone"))
