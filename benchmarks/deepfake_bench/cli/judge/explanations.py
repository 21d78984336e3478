"""Pictures of explanations, for ``dfbench explain`` and ``dfbench predict --explain``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.errors import DeepfakeError

if TYPE_CHECKING:
    from deepfake_core.explainers import Target
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.handle.results import Result


class Explanations:
    """Writes ``DIR/0001-<file>-<method>.png`` and so on, numbered in the order of the results.

    Args:
        folder: Made when it does not exist.
        detector: What judges.
        method: Name of an explainer; by default the one that suits the detector and what is installed.
        target: The class that the maps argue for.
        every_face: Explain all faces of a file rather than the one that decided.

    Raises:
        DeepfakeError: There is no such explainer, it cannot argue for the class, or the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        detector: LoadedDetector,
        method: str | None = None,
        target: Target = "predicted",
        *,
        every_face: bool = False,
    ) -> None:
        from deepfake_core.explainers.sheets import Sheets

        self.sheets = Sheets(detector, method or suitable_method(detector, target), target)
        self.suffix = self.sheets.method + ("" if target == "predicted" else f"-{target}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeepfakeError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
        self.folder = folder
        self.every_face = every_face
        self.count = 0

    def add(self, result: Result) -> list[Path]:
        """Write a picture for the deciding face, or for each face; a file without a score has none.

        Raises:
            DeepfakeError: The detector does not have what the explainer needs, or a file cannot be written.
        """
        from deepfake_core.explainers.sheets import picture_name

        self.count += 1
        first = self.folder / picture_name(self.count, result.source)
        files = []
        for rank, face in enumerate(result.faces if self.every_face else result.faces[:1], 1):
            if face.crop is None:
                continue
            number = "" if rank == 1 else f"-face{rank}"
            when = "" if face.time_s is None else f" at {face.time_s:.1f} s"
            files.append(
                self.sheets.write(
                    first.with_stem(f"{first.stem}{number}-{self.suffix}"),
                    face.crop,
                    p_fake=face.p_fake,
                    p_frames=[frame.p_fake for frame in face.frames if frame.p_fake is not None],
                    title=f"{face.verdict}: {Path(result.source).name}{when}",
                )
            )
        return files


def suitable_method(detector: LoadedDetector, target: Target = "predicted") -> str:
    """The detector's evidence, or GradCAM where its network and the library are at hand, or else occlusion."""
    from deepfake_core.explainers import default_method

    try:
        method = default_method(detector, target)
    except DeepfakeError:  # an exported file alone, or no torch
        method = None
    return "occlusion" if method is None or (method == "gradcam" and not find_spec("pytorch_grad_cam")) else method
