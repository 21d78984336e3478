"""The base class of explainers, and what a detector must offer to be explained."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, cast

from deepfake_core.errors import DeepfakeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from deepfake_core.contract.detector import Detector
    from deepfake_core.contract.specs import DetectorSpec
    from deepfake_core.runtimes.base import Outputs
    from deepfake_registry.manifest import Calibration, ModelManifest

Target = Literal["predicted", "fake", "real"]
"""Class that a map argues for: the predicted one, or always the same one."""

RELATIVE = "the strongest place always has full colour"
"""End of what a colour means in a map that is scaled so that its strongest place is 1."""


class Explainable(Protocol):
    """A loaded model whose score can be explained: a single detector or an ensemble."""

    @property
    def spec(self) -> DetectorSpec | None:
        """Record of the plugin; ``None`` where no plugin stands behind the model."""

    @property
    def manifest(self) -> ModelManifest:
        """Description of the model."""

    def score(self, images: NDArray[np.uint8], *others: NDArray[np.uint8], batch_size: int | None = None) -> Outputs:
        """Return logits ``float32 [N]`` for crops ``uint8 [N, H, W, 3]`` RGB or clips ``uint8 [N, T, H, W, 3]``."""


class HasNetwork(Explainable, Protocol):
    """A model with a torch network of its own; an ensemble has none."""

    @property
    def detector(self) -> Detector:
        """The plugin's detector with the configuration of this model."""

    @property
    def network(self) -> nn.Module:
        """The torch network with the weights of this model."""


def with_network(detector: Explainable) -> HasNetwork:
    """Return the detector itself, for explainers that look inside of its network.

    Raises:
        DeepfakeError: The model has no network of its own, as an ensemble.
    """
    # The attribute is looked up without reading it: reading it loads the network.
    if inspect.getattr_static(detector, "network", None) is None:
        raise DeepfakeError(
            f"{detector.manifest.name!r} has no network of its own; choose occlusion or rise, or explain its members"
        )
    return cast("HasNetwork", detector)


class Explainer(ABC):
    """Turns one judged crop into a heat map. It is constructed without arguments.

    In its texts, ``{target}`` stands for the class that the map argues for, and ``{place}`` for a place on the face,
    such as "around the mouth".

    Attributes:
        targets: Classes that its map can argue for; empty where the map is the same whatever the class.
        target: Class that the next map argues for.
        caption: Caption of a map.
        meaning: Sentence that says what a colour in a map means.
        found: Sentence that says where a map is strongest.
    """

    targets: ClassVar[tuple[str, ...]] = ("fake",)
    target: Literal["fake", "real"] = "fake"
    caption: ClassVar[str] = "where the network looks"
    meaning: ClassVar[str] = f"Colour: places that influence the score; {RELATIVE}."
    found: ClassVar[str] = "The map is strongest {place}."

    @property
    def shows(self) -> str:
        """Caption for the present map."""
        return self.filled(self.caption)

    def filled(self, text: str, place: str = "") -> str:
        """Return one of the explainer's texts for the present map."""
        return text.replace("{target}", self.target).replace("{place}", place)

    def colour_means(self, manifest: ModelManifest) -> str:  # noqa: ARG002
        """Say in one sentence what a colour in the present map means, for a model with this manifest."""
        return self.filled(self.meaning)

    def floor(self, manifest: ModelManifest) -> float:  # noqa: ARG002
        """Return the value in [0, 1) up to which a map is drawn without colour, for a model with this manifest."""
        return 0.0

    def sentence(self, place: str, *, whole: bool, p_fake: float, calibration: Calibration) -> str:  # noqa: ARG002
        """Say in one sentence what the last map shows.

        Args:
            place: Where the map is strongest, such as "around the mouth"; empty where nothing is above the floor.
            whole: Whether most of the face is above the floor.
            p_fake: Score of the crop, in [0, 1].
            calibration: Calibration that gave the score.
        """
        return self.filled(self.found, place) if place else "Nothing localised: the score comes from the whole face."

    @abstractmethod
    def explain(self, detector: Explainable, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the heat map of one crop.

        Args:
            detector: Model whose score is explained.
            crop: ``uint8 [H, W, 3]`` RGB as the network saw it, or a clip ``uint8 [T, H, W, 3]``.

        Returns:
            ``float32 [H, W]`` in [0, 1], or ``[T, H, W]`` for a clip. 1 marks the place that speaks most for
            :attr:`target`; for ``fake``, the most suspicious place.

        Raises:
            DeepfakeError: The detector does not have what this explainer needs.
        """
