"""``dfbench predict --explain DIR``: one picture of the evidence for each judged file."""

from __future__ import annotations

from pathlib import Path

from deepfake_bench.cli.writers import deciding_face
from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers import load_explainer, picture_name
from deepfake_core.loaded import LoadedDetector
from deepfake_core.results import Result
from deepfake_registry.files import atomic_path


class Explanations:
    """Writes ``DIR/0001-<file>.png`` and so on, numbered in the order of the results.

    Args:
        folder: Made when it does not exist.
        method: Name of an explainer.
        detector: What judged.

    Raises:
        DeepfakeError: There is no such explainer, or the folder cannot be made.
    """

    def __init__(self, folder: Path, method: str, detector: LoadedDetector) -> None:
        self.explainer = load_explainer(method, detector)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeepfakeError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
        self.folder = folder
        self.detector = detector
        self.count = 0

    def add(self, result: Result) -> None:
        """Write the panel of the deciding face; a file without a score has none."""
        from deepfake_core.explainers.overlay import panel

        self.count += 1
        face = deciding_face(result)
        if face is None or face.crop is None:
            return
        heat = self.explainer.explain(self.detector, face.crop)
        picture = panel(face.crop, heat, p_fake=face.p_fake, title=f"{result.verdict}: {Path(result.source).name}")
        with atomic_path(self.folder / picture_name(self.count, result.source)) as temporary:
            picture.save(temporary, format="PNG")
