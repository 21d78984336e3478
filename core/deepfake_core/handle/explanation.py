"""Explanations of judged faces: the heat map, and the picture that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.errors import InputError
from deepfake_core.explainers.choose import suitable_method
from deepfake_core.explainers.sheets import HeatMap, Sheets

if TYPE_CHECKING:
    import os

    from PIL import Image

    from deepfake_core.explainers.base import Explainable, Target
    from deepfake_core.handle.results import FaceResult, Result


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where a detector looked in one face.

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


def explained(
    detector: Explainable,
    results: Iterable[Result],
    method: str | None = None,
    target: Target = "predicted",
    *,
    every_face: bool = False,
) -> Iterator[Explanation]:
    """Explain the faces of results that were judged with ``keep_crops=True``.

    Args:
        detector: Model that judged them.
        results: Results, whose faces are explained as they are taken.
        method: Name of an installed explainer; by default one that suits the detector and what is installed.
        target: Class that the heat maps argue for.
        every_face: Whether to explain all faces of a result, rather than the most suspicious one.

    Raises:
        InputError: A result is an error; the message names the input.
        DeepfakeError: No plugin offers the explainer, or the detector lacks what it needs.
        MissingExtra: A package that the explainer needs is not installed.
    """
    sheets = Sheets(detector, method or suitable_method(detector, target), target)
    for result in results:
        if result.error:
            raise InputError(result.source, result.error)
        for face in result.faces if every_face else result.faces[:1]:
            if face.crop is not None:
                yield Explanation(result, face, sheets.heat(face.crop, face.p_fake))
