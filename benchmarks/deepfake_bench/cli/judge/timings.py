"""``dfbench predict --timings``: tables of the time by stage and by file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import typer

from deepfake_bench.cli.output.text import columns
from deepfake_bench.cli.output.writers import deciding_face, table_of_files
from deepfake_bench.printable import printable
from deepfake_bench.runner.stage_times import StageTimes
from deepfake_core.handle.predictor import Predictor
from deepfake_core.handle.results import FaceResult, Result
from deepfake_core.runtimes.cpu_contention import busy_with_others

CLASS_LOGITS = "logits"
"""Further output, float32 [N, 2] with fake first, of a network that has a logit for each class."""


def show_timings(times: StageTimes, detector: Predictor, name: str) -> None:
    """Print where the time went to standard error, so that it never mixes with the results.

    Args:
        times: Time by stage, of everything up to now.
        detector: Detector that judged.
        name: Name of the detector, as the user gave it.
    """
    spent_ms, busy = times.complete(), busy_with_others(times.others.share() if times.others else None)
    stages = [("stage", "seconds", "share")]
    stages += [(stage, f"{spent / 1e3:.4f}", f"{spent / spent_ms['total']:.1%}") for stage, spent in spent_ms.items()]
    for part in (
        f"\ndevice  {detector.runtime.device} ({detector.runtime.name})",
        f"cache   {_cache(detector, name)}",
        *([f"others  {busy}"] if busy else []),
        columns(stages),
        table_of_files(list(zip(*_files(times.results), strict=True)), sys.stderr),
    ):
        typer.echo(part, err=True)


def _files(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    faces = [deciding_face(result) for result in results]
    two = any(face is not None and CLASS_LOGITS in face.extra for face in faces)
    classes = ("logits fake, real", "softmax fake, real") if two else ()
    yield "file", "size", "mode", "logit", *classes, "P(fake)", "label", "confidence", "seconds"
    for result, face in zip(results, faces, strict=True):
        p_fake = result.p_fake
        yield (
            printable(result.source),
            f"{result.width}×{result.height}" if result.width else "",
            result.mode,
            "" if result.logit is None else f"{result.logit:.4f}",
            *(_classes(face) if two else ()),
            "" if p_fake is None else f"{p_fake:.2%}",
            result.verdict,
            "" if p_fake is None else f"{max(p_fake, 1 - p_fake):.2%}",
            f"{sum(result.timings_ms.values()) / 1e3:.4f}",
        )


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
