"""What the author of a plugin writes: a network, its loss, its preprocessing and its recipes (the torch side)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepfake_core.contract.losses import bce
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.repository import Repository
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.errors import WeightsUnavailable
from deepfake_registry.manifest import Frozen, ModelManifest, PreprocessSpec, TensorSpec, WeightsStatus, manifest_of


class DetectorConfig(Frozen):
    """Base of a detector's hyper-parameters: immutable, every field with a documented default."""


@dataclass(frozen=True, slots=True)
class ExplainLayer:
    """A layer that gradient-based explainers hook.

    Attributes:
        module: The layer.
        reshape: Turns its activations into ``[N, C, h, w]``; ``None`` when they already are.
    """

    module: nn.Module
    reshape: Callable[[Tensor], Tensor] | None = None


class Detector(ABC):
    """One architecture.

    ``train``, ``export`` and ``predict`` come from the core and are the same for every detector; a subclass
    says what the network is. It is constructed without loading any weights.

    Attributes:
        Config: The class of its hyper-parameters.
        preprocess: From a decoded picture to the network's input.
        recipes: Named training presets; ``default`` and ``smoke`` are expected.
        configs: Hyper-parameters that go with a recipe of that name, where they are not the defaults.
        evidence_size: Height and width of the evidence map, when :meth:`build` returns one.
        extra_outputs: What :meth:`build`'s network returns after logits and evidence, float32 [N, …] each.
        logit_tolerance: How far a float32 export's logit may be from the network's, relative where it exceeds 1. A
            detector that needs more says why beside its own value.
    """

    Config: ClassVar[type[DetectorConfig]] = DetectorConfig
    recipes: ClassVar[Mapping[str, TrainRecipe]] = {}
    configs: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    evidence_size: tuple[int, int] | None = None
    extra_outputs: tuple[TensorSpec, ...] = ()
    logit_tolerance: ClassVar[float] = 1e-4
    preprocess: PreprocessSpec

    def __init__(self, config: DetectorConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()

    @classmethod
    def from_repository(cls, repository: Repository) -> tuple[DetectorConfig, dict[str, Tensor]]:
        """Read a model that others published in a repository of the Hugging Face Hub.

        Returns:
            The hyper-parameters, labels and preprocessing among them, and the weights as the network of
            :meth:`build` names them.

        Raises:
            WeightsUnavailable: A file is missing; or, by default, the detector reads no such repositories.
            ArtifactCorrupt: A file is damaged, or it is a model of another kind.
        """
        raise WeightsUnavailable(
            f"{repository.name}: {cls.__name__} reads no repositories of the Hugging Face Hub; load a model file or "
            "the folder of a package by its path"
        )

    @abstractmethod
    def build(self) -> nn.Module:
        """The network, randomly initialised: ``float32 [N, 3, H, W]`` normalised → logits ``[N]``.

        It may return a tuple instead: logits, evidence logits ``[N, h, w]`` where :attr:`evidence_size` is set, then
        what :attr:`extra_outputs` names. Clips come as ``[N, T, 3, H, W]``.
        """

    def init_pretrained(self, network: nn.Module) -> None:  # noqa: B027 - there may be none
        """Load the backbone's public weights into a new network before training; by default there are none."""

    def before_training(  # noqa: B027 - most need nothing
        self, training: TrainingSet, recipe: TrainRecipe, cache_dir: Path, device: torch.device
    ) -> None:
        """Make what :meth:`loss` needs beside the network, such as networks to train against; by default nothing.

        It runs once before the first step, and again when a run goes on: what takes long is kept in ``cache_dir``.

        Args:
            training: What the network will learn from.
            recipe: How.
            cache_dir: For files that other runs can use too.
            device: Where the loss will be computed.
        """

    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Training loss, a scalar.

        Args:
            output: What the network returned.
            batch: ``images`` as they were loaded; ``fake`` float32 [N] in {0, 1}; ``weight`` float32 [N]; with
                self-blended data also ``mask`` float32 [N, h, w] in [0, 1], NaN where unknown.
        """
        logit = output[0] if isinstance(output, tuple) else output
        return bce(logit, batch["fake"], batch["weight"])

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        """Named groups of parameters for phased training; by default ``backbone`` is everything."""
        return {"backbone": list(network.parameters())}

    def checkpoint_modules(self, network: nn.Module) -> Sequence[nn.Module]:  # noqa: ARG002 - for overriding
        """Blocks whose activations can be recomputed in the backward pass, to save memory; by default none."""
        return ()

    def manifest(self, name: str, weights: WeightsStatus, **fields: Any) -> ModelManifest:
        """The manifest of a network that this detector built.

        Args:
            name: Name of the detector's plugin.
            weights: What the network's weights are.
            **fields: Further fields of the manifest, such as ``calibration``.
        """
        return manifest_of(
            name=name,
            architecture=name,
            preprocess=self.preprocess,
            weights=weights,
            config=self.config.model_dump(mode="json"),
            evidence=self.evidence_size,
            extra_outputs=self.extra_outputs,
            **fields,
        )

    def explain_layers(self, network: nn.Module) -> Sequence[ExplainLayer]:  # noqa: ARG002 - for overriding
        """Layers for gradient-based explainers, best first; by default none."""
        return ()

    def attention_layers(self, network: nn.Module) -> Sequence[nn.Module]:  # noqa: ARG002 - for overriding
        """Self-attention of a vision transformer, first layer first, for attention rollout; by default none.

        Every layer attends from all tokens to all tokens, and is of timm's or of Transformers' kind.
        """
        return ()


def split_parameters(network: nn.Module, modules: Iterable[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of some modules of a network, and all others, each in the network's order."""
    own = {id(parameter) for module in modules for parameter in module.parameters()}
    inside = [parameter for parameter in network.parameters() if id(parameter) in own]
    return inside, [parameter for parameter in network.parameters() if id(parameter) not in own]


class WithPreprocess(nn.Module):
    """The graph half: ``uint8 [N, H, W, 3]`` RGB (or clips ``[N, T, H, W, 3]``) → what the network returns, float32.

    Training validation, the torch runtime and every export run this very module.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocess: PreprocessSpec) -> None:
        super().__init__()
        self.network = network
        normalize = preprocess.normalize
        self.register_buffer("mean", torch.tensor(normalize.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(normalize.std).view(1, 3, 1, 1), persistent=False)

    def normalize(self, images: Tensor) -> Tensor:
        """``uint8 [N, H, W, 3]`` → ``float32 [N, 3, H, W]`` normalised; clips ``[N, T, …]`` likewise."""
        axes = (0, 3, 1, 2) if images.ndim == 4 else (0, 1, 4, 2, 3)
        pixels = images.permute(axes).to(torch.float32)
        return (pixels / 255.0 - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        output: Tensor | tuple[Tensor, ...] = self.network(self.normalize(images))
        return output
