"""``dfbench predict --timings``: tables of the time by stage and by file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from deepfake_bench.cli.output.writers import deciding_face, wide_console
from deepfake_bench.printable import printable
from deepfake_bench.runner.stage_times import StageTimes
from deepfake_core.handle.predictor import Predictor
from deepfake_core.handle.results import FaceResult, Result

CLASS_LOGITS = "logits"
"""Further output, float32 [N, 2] with fake first, of a network that has a logit for each class."""


def show_timings(times: StageTimes, detector: Predictor, name: str) -> None:
    """Print where the time went to standard error, so that it never mixes with the results.

    Args:
        times: Time by stage, of everything up to now.
        detector: Detector that judged.
        name: Name of the detector, as the user gave it.
    """
    spent_ms = times.complete()
    console = wide_console(sys.stderr)
    console.print(f"\ndevice  {detector.runtime.device} ({detector.runtime.name})", markup=False)
    console.print(f"cache   {_cache(detector, name)}", markup=False)
    stages = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("stage", "seconds", "share"):
        stages.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage, spent in spent_ms.items():
        stages.add_row(stage, f"{spent / 1e3:.4f}", f"{spent / spent_ms['total']:.1%}")
    console.print(stages)
    console.print(_files(times.results))


def _files(results: Sequence[Result]) -> Table:
    faces = [deciding_face(result) for result in results]
    two = any(face is not None and CLASS_LOGITS in face.extra for face in faces)
    files = Table(box=None, header_style="bold", pad_edge=False)
    files.add_column("file", overflow="fold")
    classes = ("logits fake, real", "softmax fake, real") if two else ()
    for name in ("size", "mode", "logit", *classes, "P(fake)", "label", "confidence", "seconds"):
        files.add_column(name, justify="right", no_wrap=True)
    for result, face in zip(results, faces, strict=True):
        p_fake = result.p_fake
        files.add_row(
            Text(printable(result.source)),
            f"{result.width}×{result.height}" if result.width else "",
            result.mode,
            "" if result.logit is None else f"{result.logit:.4f}",
            *(_classes(face) if two else ()),
            "" if p_fake is None else f"{p_fake:.2%}",
            result.verdict,
            "" if p_fake is None else f"{max(p_fake, 1 - p_fake):.2%}",
            f"{sum(result.timings_ms.values()) / 1e3:.4f}",
        )
    return files


def _classes(face: FaceResult | None) -> tuple[str, str]:
    """Return the logits of both classes and their softmax, which no calibration has changed."""
    if face is None or CLASS_LOGITS not in face.extra:
        return "", ""
    logits = face.extra[CLASS_LOGITS].astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    return "{:.4f}, {:.4f}".format(*logits), "{:.2%}, {:.2%}".format(*shares)


def _cache(detector: Predictor, name: str) -> str:
    """Say where the weights were, and whether they had been there before."""
    weights = detector.manifest.weights
    repository = detector.repository
    if repository is not None:
        came = "was there already" if repository.cached else "downloaded now"
        return f"{printable(str(repository.folder))} ({weights} {detector.manifest.version}, {came})"
    packaged = detector.spec.weights if detector.spec is not None and detector.spec.name == name else None
    return f"{packaged or printable(name)} ({weights}, on this machine)"
