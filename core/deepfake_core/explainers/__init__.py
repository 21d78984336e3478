"""Explainers: where a detector looked."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, Literal

from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepfake_core.handle.loaded import LoadedDetector


Target = Literal["predicted", "fake", "real"]
"""The class that a map is to argue for: the one that was predicted, or always the same."""

CAPTIONS = {"fake": "where it looks manipulated", "real": "what speaks for a real face"}


class Explainer(ABC):
    """Turns one judged crop into a heat map. It is constructed without arguments.

    Attributes:
        targets: The classes that its map can argue for; none where it shows the same whatever the class.
        target: The one that it argues for now.
        caption: What a map shows that argues for no class.
    """

    targets: ClassVar[tuple[str, ...]] = ("fake",)
    target: Literal["fake", "real"] = "fake"
    caption: ClassVar[str] = "where the network looks"

    @property
    def shows(self) -> str:
        """What its map shows now, for the caption of a picture."""
        return CAPTIONS[self.target] if self.targets else self.caption

    @abstractmethod
    def explain(self, detector: LoadedDetector, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``uint8 [H, W, 3]`` RGB, as the network saw it → ``float32 [H, W]`` in [0, 1].

        A clip ``[T, H, W, 3]`` gives ``[T, H, W]``. 1 is where it speaks most for :attr:`target`: for ``fake``, where
        it is most suspicious.

        Raises:
            DeepfakeError: The detector does not have what this explainer needs.
        """


def load_explainer(name: str, detector: LoadedDetector) -> Explainer:
    """An installed explainer by its name, for a detector.

    Raises:
        DeepfakeError: There is no such explainer.
        MissingExtra: What it needs is not installed.
    """
    known = plugins.explainers()
    if name not in known:
        raise DeepfakeError(f"unknown explainer {name!r}; installed: {', '.join(known)}")
    install = detector.spec.install if detector.spec is not None else "deepfake-core[torch]"
    explainer: Explainer = plugins.import_object(known[name].spec.explainer, install=install)()
    return explainer


def default_method(detector: LoadedDetector, target: Target = "predicted") -> str | None:
    """The explainer that suits a detector best and costs least: its evidence, or GradCAM; ``None`` for neither.

    Raises:
        DeepfakeError: The network would be needed to know, and cannot be had here.
    """
    if target != "real" and any(output.name == "evidence" for output in detector.manifest.outputs):
        return "evidence"
    return "gradcam" if detector.detector.explain_layers(detector.network) else None


def picture_name(number: int, source: str) -> str:
    """A file name that is unique by its number and stays inside its folder, whatever the source is called."""
    stem = re.sub(r"[^\w.-]+", "_", PurePath(source).stem, flags=re.ASCII)[:60]
    return f"{number:04d}-{stem}.png"
