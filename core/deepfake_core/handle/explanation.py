"""Explanations of judged faces: the heat map, and the picture that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.explainers.sheets import HeatMap

if TYPE_CHECKING:
    import os

    from PIL import Image

    from deepfake_core.handle.results import FaceResult, Result


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Explanation of one judged face.

    Attributes:
        result: Result of the input that the face is from.
        face: Judged face, with its crop.
        heat: Heat map, with the explainer's name and the class that it argues for.
    """

    result: Result
    face: FaceResult
    heat: HeatMap

    def image(self) -> Image.Image:
        """Draw the crop, the heat map over it, P(fake), the method and the class; a clip becomes a film strip."""
        when = "" if self.face.time_s is None else f" at {self.face.time_s:.1f} s"
        return self.heat.image(
            p_fake=self.face.p_fake,
            p_frames=[frame.p_fake for frame in self.face.frames if frame.p_fake is not None],
            title=f"{self.face.verdict}: {Path(self.result.source).name}{when}",
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`image` to a PNG file, whole or not at all.

        Raises:
            DeepfakeError: The file cannot be written.
        """
        return self.heat.save(self.image(), Path(path))
