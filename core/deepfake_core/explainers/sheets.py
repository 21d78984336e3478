"""Pictures of explained crops: the score on its scale, the crop, the heat map over it, and what that shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers.base import Explainable, Target
from deepfake_core.explainers.choose import load_explainer
from deepfake_core.explainers.film import film
from deepfake_core.explainers.overlay import panel
from deepfake_core.explainers.places import share_of_face, strongest_place
from deepfake_registry.files import atomic_path

if TYPE_CHECKING:
    from PIL import Image

    from deepfake_registry.manifest import ModelManifest


NOTHING = "no place is marked"
"""Caption of a map without any colour."""


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """Heat map of one crop.

    Attributes:
        crop: Crop ``uint8 [H, W, 3]`` RGB as the network saw it, or a clip ``uint8 [T, H, W, 3]``.
        values: ``float32 [H, W]`` in [0, 1], or ``[T, H, W]`` for a clip.
        method: Name of the explainer.
        target: Class that the map argues for; ``None`` where it is the same whatever the class.
        shows: Caption.
        sentence: What the map shows, in one sentence.
        meaning: What a colour means, in one sentence.
        floor: Value in [0, 1) up to which the map is drawn without colour.
        band: P(fake) below which the model's verdict is ``real``, and from which it is ``fake``.
    """

    crop: NDArray[np.uint8]
    values: NDArray[np.float32]
    method: str
    target: Literal["fake", "real"] | None
    shows: str
    sentence: str = ""
    meaning: str = ""
    floor: float = 0.0
    band: tuple[float, float] = (0.5, 0.5)

    def image(self, *, p_fake: float | None, title: str = "", p_frames: Sequence[float] = ()) -> Image.Image:
        """Draw the score on its scale, and crop and map side by side; a clip becomes a film strip.

        Args:
            p_fake: Score of the crop, in [0, 1]; ``None`` where it has none.
            title: Line of text below the pictures.
            p_frames: Score after each frame of a clip, in [0, 1]; empty where the network has none.
        """
        line = f"{title} | {self.method}" + (f" for {self.target}" if self.target else "")
        draw = partial(film, p_frames=p_frames) if self.crop.ndim == 4 else panel
        return draw(
            self.crop,
            self.values,
            p_fake=p_fake,
            band=self.band,
            title=line,
            sentence=self.sentence,
            shows=self.shows,
            meaning=self.meaning,
            floor=self.floor,
        )

    @staticmethod
    def save(image: Image.Image, file: Path) -> Path:
        """Write a picture to a PNG file, whole or not at all.

        Raises:
            DeepfakeError: The file cannot be written.
        """
        try:
            with atomic_path(file) as temporary:
                image.save(temporary, format="PNG")
        except OSError as error:
            raise DeepfakeError(f"{file}: cannot be written ({error.strerror}); name another folder") from error
        return file


class Sheets:
    """Draws explained crops of one detector by one method.

    Args:
        detector: Model whose score is explained.
        method: Name of an installed explainer.
        target: Class that the maps argue for. A method that can argue for one class only argues for that one where
            the other was predicted.

    Raises:
        DeepfakeError: No plugin offers the explainer, or it cannot argue for the class.
        MissingExtra: A package that the explainer needs is not installed.
    """

    def __init__(self, detector: Explainable, method: str, target: Target = "predicted") -> None:
        self.detector = detector
        self.method = method
        self.target: Target = target
        self.explainer = load_explainer(method, detector)
        if target != "predicted" and target not in self.explainer.targets:
            can = (
                f"what speaks for {' or '.join(self.explainer.targets)} only" if self.explainer.targets else "no class"
            )
            raise DeepfakeError(f"explainer {method!r} shows {can}; use gradcam or occlusion")

    def heat(self, crop: NDArray[np.uint8], p_fake: float) -> HeatMap:
        """Explain one crop.

        Args:
            crop: ``uint8 [H, W, 3]`` RGB as the network saw it, or a clip ``uint8 [T, H, W, 3]``.
            p_fake: Score of the crop, in [0, 1]; it decides which class was predicted.

        Raises:
            DeepfakeError: The detector does not have what the explainer needs.
        """
        threshold = self.detector.manifest.calibration.threshold
        real = self.target == "real" or (self.target == "predicted" and p_fake < threshold)
        explainer = self.explainer
        explainer.target = "real" if real and "real" in explainer.targets else "fake"
        values = explainer.explain(self.detector, crop)
        manifest = self.detector.manifest
        floor = explainer.floor(manifest)
        return HeatMap(
            crop,
            values,
            self.method,
            explainer.target if explainer.targets else None,
            explainer.shows if values.max() > floor else NOTHING,
            sentence=found_in(values, floor, explainer.sentence, manifest, p_fake),
            meaning=explainer.colour_means(manifest),
            floor=floor,
            band=(manifest.calibration.unsure_low, manifest.calibration.unsure_high),
        )

    def write(
        self,
        file: Path,
        crop: NDArray[np.uint8],
        *,
        p_fake: float,
        title: str = "",
        p_frames: Sequence[float] = (),
    ) -> Path:
        """Explain one crop, and write the picture to a PNG file, whole or not at all.

        Args:
            file: File to write.
            crop: ``uint8 [H, W, 3]`` RGB as the network saw it, or a clip ``uint8 [T, H, W, 3]``.
            p_fake: Score of the crop, in [0, 1].
            title: Line of text below the pictures.
            p_frames: Score after each frame of a clip, in [0, 1].

        Returns:
            The file.

        Raises:
            DeepfakeError: The detector does not have what the explainer needs, or the file cannot be written.
        """
        heat = self.heat(crop, p_fake)
        return heat.save(heat.image(p_fake=p_fake, title=title, p_frames=p_frames), file)


def found_in(
    values: NDArray[np.float32], floor: float, say: Callable[..., str], manifest: ModelManifest, p_fake: float
) -> str:
    """Say in one sentence what a map shows.

    Args:
        values: ``float32 [H, W]`` in [0, 1], or ``[T, H, W]`` for a clip.
        floor: Value up to which it is drawn without colour.
        say: The explainer's :meth:`~deepfake_core.explainers.base.Explainer.sentence`.
        manifest: Model whose score is explained.
        p_fake: Score of the crop, in [0, 1].
    """
    if manifest.weights == "untrained":
        return "The weights are untrained: score and map mean nothing."
    heat = values.max(axis=0) if values.ndim == 3 else values
    place = strongest_place(heat, manifest.preprocess) if heat.max() > floor else ""
    whole = share_of_face(heat > floor, manifest.preprocess) > 0.5
    return say(place, whole=whole, p_fake=p_fake, calibration=manifest.calibration)


def picture_name(number: int, source: str) -> str:
    """Return a file name that is unique by its number and stays inside its folder, whatever the source is called."""
    stem = re.sub(r"[^\w.-]+", "_", PurePath(source).stem, flags=re.ASCII)[:60]
    return f"{number:04d}-{stem}.png"
