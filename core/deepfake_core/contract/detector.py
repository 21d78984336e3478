"""The class that the author of a plugin writes: a network, its loss, its preprocessing and its recipes."""

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
from deepfake_core.errors import MissingExtra, WeightsUnavailable
from deepfake_registry.manifest import Frozen, ModelManifest, PreprocessSpec, TensorSpec, WeightsStatus, manifest_of


class DetectorConfig(Frozen):
    """Base of a detector's hyper-parameters, which are immutable; every field has a documented default."""


@dataclass(frozen=True, slots=True)
class ExplainLayer:
    """A layer whose activations gradient-based explainers read.

    Attributes:
        module: The layer.
        reshape: Function that turns its activations into ``[N, C, h, w]``; ``None`` where they have that shape.
    """

    module: nn.Module
    reshape: Callable[[Tensor], Tensor] | None = None


class Detector(ABC):
    """An architecture: its network, hyper-parameters, preprocessing, loss and training recipes.

    Prediction, training and export come from the core and are the same for every detector. Constructing a detector
    loads no weights.

    Args:
        config: Hyper-parameters; by default the defaults of :attr:`Config`.

    Attributes:
        Config: Class of the hyper-parameters.
        config: Hyper-parameters of this detector.
        preprocess: Steps from a decoded image to the network's input, as data.
        recipes: Training recipes by name; ``default`` and ``smoke`` are expected.
        configs: Hyper-parameters that belong to the recipe of the same name, where they differ from the defaults.
        evidence_size: Height and width of the evidence map, where the network returns one.
        extra_outputs: Outputs of the network after logits and evidence map, each float32 [N, …].
        logit_tolerance: Largest difference between the logits of a float32 export and of the network, absolute up to
            logits of 1 and relative beyond. A detector that needs more says why beside its own value.
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

        Args:
            repository: Repository whose files are on this machine.

        Returns:
            The hyper-parameters, which include labels and preprocessing; and the weights, float32 tensors under the
            names of the network of :meth:`build`.

        Raises:
            WeightsUnavailable: A file is missing. By default, a detector reads no repositories and always raises it.
            ArtifactCorrupt: A file is damaged, or the model is of another kind.
        """
        raise WeightsUnavailable(
            f"{repository.name}: {cls.__name__} reads no repositories of the Hugging Face Hub; load a model file or "
            "the folder of a package by its path"
        )

    @abstractmethod
    def build(self) -> nn.Module:
        """Build the network, randomly initialised: normalised images float32 [N, 3, H, W] → logits float32 [N].

        Positive logits mean fake. The network may return a tuple instead: the logits, then evidence logits
        float32 [N, h, w] where :attr:`evidence_size` is set, then the outputs that :attr:`extra_outputs` names. A
        detector of clips takes float32 [N, T, 3, H, W].
        """

    def init_pretrained(self, network: nn.Module, *, download: bool = False) -> None:  # noqa: B027 - there may be none
        """Load the backbone's public weights into a new network before training; by default there are none.

        Args:
            network: Network that :meth:`build` made; it is changed in place.
            download: Whether the user allows to download them. Otherwise they must be on this machine.
        """

    def missing_extras(self, recipe: TrainRecipe) -> Iterable[MissingExtra]:  # noqa: ARG002 - for overriding
        """Yield what training by a recipe needs and is not installed, such as public weights in a package.

        It is asked before a run writes anything. By default there is nothing.

        Args:
            recipe: Recipe that the network will be trained by.
        """
        return ()

    def before_training(  # noqa: B027 - most need nothing
        self, training: TrainingSet, recipe: TrainRecipe, cache_dir: Path, device: torch.device
    ) -> None:
        """Prepare what :meth:`loss` needs besides the network, such as networks to train against; by default nothing.

        It runs once before the first step, and again when a run is resumed. Results that take long to compute belong
        into ``cache_dir``.

        Args:
            training: Samples that the network will be trained on.
            recipe: Recipe that the network will be trained by.
            cache_dir: Folder for files that other runs can use too.
            device: Device on which the loss will be computed.
        """

    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the training loss, a scalar; by default the binary cross-entropy of the logits.

        Args:
            output: Outputs of the network: the logits float32 [N], or a tuple that starts with them.
            batch: ``images`` uint8 [N, H, W, 3] RGB as they were loaded; targets ``fake`` float32 [N] in [0, 1];
                ``weight`` float32 [N]; with self-blended data also ``mask`` float32 [N, h, w] in [0, 1], NaN where
                unknown.
        """
        logit = output[0] if isinstance(output, tuple) else output
        return bce(logit, batch["fake"], batch["weight"])

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        """Return the groups of parameters that a recipe's phases train; by default ``backbone`` holds all of them.

        Parts of a backbone are named ``backbone/…``: a phase can name the parts, or the whole.
        """
        return {"backbone": list(network.parameters())}

    def checkpoint_modules(self, network: nn.Module) -> Sequence[nn.Module]:  # noqa: ARG002 - for overriding
        """Return blocks whose activations may be recomputed in the backward pass to save memory; by default none."""
        return ()

    def manifest(self, name: str, weights: WeightsStatus, **fields: Any) -> ModelManifest:
        """Return the manifest of a network that this detector built.

        Args:
            name: Name of the detector, which its record has.
            weights: Kind of the network's weights.
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
        """Return the layers for gradient-based explainers, the most suitable one first; by default none."""
        return ()

    def attention_layers(self, network: nn.Module) -> Sequence[nn.Module]:  # noqa: ARG002 - for overriding
        """Return a vision transformer's self-attention, the first layer first, for attention rollout; by default none.

        Every layer must attend from all tokens to all tokens, and be of a class of timm or of Transformers.
        """
        return ()


def split_parameters(network: nn.Module, modules: Iterable[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Divide the parameters of a network into those of some modules and all others.

    Args:
        network: The whole network.
        modules: Modules of the network.

    Returns:
        The parameters of the modules, and all others, each in the network's order.
    """
    own = {id(parameter) for module in modules for parameter in module.parameters()}
    inside = [parameter for parameter in network.parameters() if id(parameter) in own]
    return inside, [parameter for parameter in network.parameters() if id(parameter) not in own]


class WithPreprocess(nn.Module):
    """The part of a detector inside of exported graphs: uint8 [N, H, W, 3] RGB → outputs of the network, float32.

    It normalises the images and runs the network; clips are uint8 [N, T, H, W, 3]. Validation, the torch runtime and
    every export run this same module.

    Args:
        network: Network that :meth:`Detector.build` made.
        preprocess: Preprocessing whose ``normalize`` is computed here.
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
        """Normalise uint8 [N, H, W, 3] RGB to float32 [N, 3, H, W]; clips [N, T, H, W, 3] to [N, T, 3, H, W]."""
        axes = (0, 3, 1, 2) if images.ndim == 4 else (0, 1, 4, 2, 3)
        pixels = images.permute(axes).to(torch.float32)
        return (pixels / 255.0 - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs of the network for images uint8 [N, H, W, 3] RGB, or clips uint8 [N, T, H, W, 3]."""
        output: Tensor | tuple[Tensor, ...] = self.network(self.normalize(images))
        return output
