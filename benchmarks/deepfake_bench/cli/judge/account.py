"""``dfbench predict --timings``: where the time went, by stage and by file (000-2, 6, 8)."""

from __future__ import annotations

import sys
import time

import numpy as np

from deepfake_bench.cli.output.writers import deciding_face, wide_console
from deepfake_bench.printable import printable
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.handle.results import FaceResult, Result
from deepfake_core.timing import Stages

OF_LOADING = ("import", "device", "cache", "choice", "load", "transfer")
OF_FILES = {"decode": "image load", "faces": "faces", "crop": "preprocess", "inference": "inference"}
"""Stage of a result → its name here, in the order of the table."""
CLASS_LOGITS = "logits"
"""The further output, float32 [N, 2] with fake first, of a network that has a logit for each class."""


class Account(Stages):
    """Time by stage; what no stage claims is ``other``, so that the shares add up to the total.

    Args:
        start: ``time.perf_counter()`` when the command began; the time since then went into importing.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start
        self.spent_ms = dict.fromkeys((*OF_LOADING, *OF_FILES.values(), "results"), 0.0)
        self.results: list[Result] = []
        self.spent_ms["import"] = 1e3 * (time.perf_counter() - start)

    def loaded(self, detector: LoadedDetector) -> None:
        """Take the stages that the detector gives out of the time that ``load`` was given."""
        for stage, spent in detector.load_ms.items():
            self.spent_ms[stage] += spent
            self.spent_ms["load"] -= spent

    def add(self, result: Result) -> None:
        """Add the stages of one file."""
        self.results.append(result)
        for stage, spent in result.timings_ms.items():
            self.spent_ms[OF_FILES.get(stage, stage)] += spent

    def show(self, detector: LoadedDetector, name: str) -> None:
        """Print the account to standard error, so that it never mixes with the results."""
        from rich.table import Table

        total_ms = 1e3 * (time.perf_counter() - self.start)
        console = wide_console(sys.stderr)
        console.print(f"\ndevice  {detector.runtime.device} ({detector.runtime.name})", markup=False)
        console.print(f"cache   {_cache(detector, name)}", markup=False)
        stages = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("stage", "seconds", "share"):
            stages.add_column(heading, justify="left" if heading == "stage" else "right")
        rows = {**self.spent_ms, "other": max(0.0, total_ms - sum(self.spent_ms.values())), "total": total_ms}
        for stage, spent in rows.items():
            stages.add_row(stage, f"{spent / 1e3:.4f}", f"{spent / total_ms:.1%}")
        console.print(stages)
        console.print(self._files())

    def _files(self) -> object:
        from rich.table import Table
        from rich.text import Text

        faces = [deciding_face(result) for result in self.results]
        two = any(face is not None and CLASS_LOGITS in face.extra for face in faces)
        files = Table(box=None, header_style="bold", pad_edge=False)
        files.add_column("file", overflow="fold")
        classes = ("logits fake, real", "softmax fake, real") if two else ()
        for name in ("size", "mode", "logit", *classes, "P(fake)", "label", "confidence", "seconds"):
            files.add_column(name, justify="right", no_wrap=True)
        for result, face in zip(self.results, faces, strict=True):
            p_fake = result.p_fake
            files.add_row(
                Text(printable(result.source)),
                f"{result.width}×{result.height}" if result.width else "",
                result.mode,
                "" if face is None else f"{face.logit:.4f}",
                *(_classes(face) if two else ()),
                "" if p_fake is None else f"{p_fake:.2%}",
                result.verdict,
                "" if p_fake is None else f"{max(p_fake, 1 - p_fake):.2%}",
                f"{sum(result.timings_ms.values()) / 1e3:.4f}",
            )
        return files


def _classes(face: FaceResult | None) -> tuple[str, str]:
    """Logits of both classes and their softmax, which no calibration has changed."""
    if face is None or CLASS_LOGITS not in face.extra:
        return "", ""
    logits = face.extra[CLASS_LOGITS].astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    return "{:.4f}, {:.4f}".format(*logits), "{:.2%}, {:.2%}".format(*shares)


def _cache(detector: LoadedDetector, name: str) -> str:
    """Where the weights were, and whether they had been there before (000-4)."""
    weights = detector.manifest.weights
    repository = detector.repository
    if repository is not None:
        came = "was there already" if repository.cached else "downloaded now"
        return f"{printable(str(repository.folder))} ({weights} {detector.manifest.version}, {came})"
    packaged = detector.spec.weights if detector.spec is not None and detector.spec.name == name else None
    return f"{packaged or printable(name)} ({weights}, on this machine)"
