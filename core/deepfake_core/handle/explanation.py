"""Explanations of judged faces: the heat map, a sentence, and the picture that shows both."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        heat: Heat map, with the explainer's name, the class that it argues for, and what a colour means.
    """

    result: Result
    face: FaceResult
    heat: HeatMap

    @property
    def sentence(self) -> str:
        """What the map shows, in one sentence."""
        if self.face.protected:
            return "The face carries the mark of protection: it has no score, and the map means nothing."
        return self.heat.sentence

    def image(self) -> Image.Image:
        """Draw the score on its scale, the sentence, and the crop beside its heat map; a clip becomes a film strip."""
        which = "" if self.face.time_s is None else f" at {self.face.time_s:.1f} s"
        if self.result.frames == 1 and len(self.result.faces) > 1:
            rank = next(rank for rank, face in enumerate(self.result.faces, 1) if face is self.face)
            which = f", face {rank} of {len(self.result.faces)}"
        return replace(self.heat, sentence=self.sentence).image(
            p_fake=None if self.face.protected else self.face.p_fake,
            p_frames=[frame.p_fake for frame in self.face.frames if frame.p_fake is not None],
            title=f"{Path(self.result.source).name}{which} | {self.result.detector}",
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`image` to a PNG file, whole or not at all.

        Raises:
            DeepfakeError: The file cannot be written.
        """
        return self.heat.save(self.image(), Path(path))
