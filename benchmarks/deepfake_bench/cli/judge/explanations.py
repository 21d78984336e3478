"""Images of explanations, for ``dfbench explain`` and ``dfbench predict --explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from deepfake_core.errors import DeepfakeError

if TYPE_CHECKING:
    from deepfake_core.explainers import Target
    from deepfake_core.handle.predictor import Predictor
    from deepfake_core.handle.results import Result


LISTED = 10
"""Number of images up to which each is named at the end of ``dfbench predict``."""


class Picture(NamedTuple):
    """Image that was written, and the verdict and what it shows in one sentence."""

    file: Path
    sentence: str


class Explanations:
    """Writes ``DIR/0001-<file>-<method>.png`` and so on, numbered in the order of the results.

    Args:
        folder: Folder for the images; made when it does not exist.
        detector: Detector that judged the results.
        method: Name of an explainer; by default one that suits the detector and what is installed.
        target: Class that the maps argue for.
        every_face: Whether to explain all faces of a file, rather than the most suspicious one.

    Raises:
        DeepfakeError: No plugin offers the explainer, it cannot argue for the class, or the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        detector: Predictor,
        method: str | None = None,
        target: Target = "predicted",
        *,
        every_face: bool = False,
    ) -> None:
        from deepfake_core.explainers.sheets import Sheets

        if method is not None:
            Sheets(detector, method, target)  # refuse before any work
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeepfakeError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
        self.folder = folder
        self.detector = detector
        self.method = method
        self.target: Target = target
        self.every_face = every_face
        self.count = 0
        self.written = 0
        self.last: list[Picture] = []

    def add(self, result: Result) -> list[Picture]:
        """Write an image for the most suspicious face, or for each face; a file without a score has none.

        Raises:
            DeepfakeError: The detector does not have what the explainer needs, or a file cannot be written.
        """
        from deepfake_core.explainers.sheets import picture_name

        self.count += 1
        if result.error:
            return []
        first = self.folder / picture_name(self.count, result.source)
        found = self.detector.explain_results(
            [result], method=self.method, target=self.target, every_face=self.every_face
        )
        pictures = []
        for rank, explanation in enumerate(found, 1):
            number = "" if rank == 1 else f"-face{rank}"
            shown = explanation.heat.method.replace(" ", "") + ("" if self.target == "predicted" else f"-{self.target}")
            file = explanation.save(first.with_stem(f"{first.stem}{number}-{shown}"))
            pictures.append(Picture(file, f"{explanation.face.verdict}: {explanation.sentence}"))
        self.written += len(pictures)
        self.last = [*self.last, *pictures][-LISTED:]
        return pictures

    def report(self) -> None:
        """Print which images were written and what they show, or only their folder if they are many, to stderr."""
        from deepfake_bench.printable import printable

        if self.written > LISTED:
            typer.echo(f"{self.written:,} explanations are in {printable(str(self.folder))}", err=True)
            return
        for picture in self.last:
            typer.echo(f"{printable(str(picture.file))}\n  {picture.sentence}", err=True)
