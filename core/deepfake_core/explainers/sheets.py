"""One picture for each explained crop: what the network saw, the heat map over it, P(fake), method and class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers import Target, load_explainer
from deepfake_core.explainers.film import film
from deepfake_core.explainers.overlay import panel
from deepfake_registry.files import atomic_path

if TYPE_CHECKING:
    from PIL import Image

    from deepfake_core.handle.loaded import LoadedDetector


class Sheets:
    """Draws explained crops of one detector by one method.

    Args:
        detector: What judges.
        method: Name of an installed explainer.
        target: The class that the maps argue for. A method that can argue for one class only argues for that one
            where the other was predicted.

    Raises:
        DeepfakeError: There is no such explainer, or it cannot argue for the class.
        MissingExtra: What it needs is not installed.
    """

    def __init__(self, detector: LoadedDetector, method: str, target: Target = "predicted") -> None:
        self.detector = detector
        self.method = method
        self.target: Target = target
        self.explainer = load_explainer(method, detector)
        if target != "predicted" and target not in self.explainer.targets:
            can = (
                f"what speaks for {' or '.join(self.explainer.targets)} only" if self.explainer.targets else "no class"
            )
            raise DeepfakeError(f"explainer {method!r} shows {can}; use gradcam or occlusion")

    def draw(
        self,
        crop: NDArray[np.uint8],
        *,
        p_fake: float,
        title: str = "",
        p_frames: Sequence[float] = (),
    ) -> Image.Image:
        """Explain one crop.

        Args:
            crop: ``uint8 [H, W, 3]`` RGB as the network saw it, or a clip ``[T, H, W, 3]``, which gives a film strip.
            p_fake: Its score, in [0, 1].
            title: One line above the pictures.
            p_frames: The score after each frame of a clip, where there are such.

        Raises:
            DeepfakeError: The detector does not have what the explainer needs.
        """
        threshold = self.detector.manifest.calibration.threshold
        real = self.target == "real" or (self.target == "predicted" and p_fake < threshold)
        self.explainer.target = "real" if real and "real" in self.explainer.targets else "fake"
        heat = self.explainer.explain(self.detector, crop)
        about = f"{self.method} for {self.explainer.target}" if self.explainer.targets else self.method
        line = f"{title} | {about}"
        if crop.ndim == 4:
            return film(crop, heat, p_fake=p_fake, p_frames=p_frames, title=line, shows=self.explainer.shows)
        return panel(crop, heat, p_fake=p_fake, title=line, shows=self.explainer.shows)

    def write(
        self,
        file: Path,
        crop: NDArray[np.uint8],
        *,
        p_fake: float,
        title: str = "",
        p_frames: Sequence[float] = (),
    ) -> Path:
        """Draw one crop into a PNG file, which is there as a whole or not at all; arguments are those of :meth:`draw`.

        Raises:
            DeepfakeError: The detector does not have what the explainer needs, or the file cannot be written.
        """
        sheet = self.draw(crop, p_fake=p_fake, title=title, p_frames=p_frames)
        try:
            with atomic_path(file) as temporary:
                sheet.save(temporary, format="PNG")
        except OSError as error:
            raise DeepfakeError(f"{file}: cannot be written ({error.strerror}); name another folder") from error
        return file
