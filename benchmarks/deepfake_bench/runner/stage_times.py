"""Time of one judgement of files by stage: importing, loading, and the stages of each file."""

from __future__ import annotations

import time
from dataclasses import replace

from deepfake_core.handle.predictor import Predictor
from deepfake_core.handle.results import Result
from deepfake_core.runtimes.cpu_contention import CpuContention
from deepfake_core.timing import Stages

LOADING = ("import", "device", "cache", "choice", "load", "transfer")
"""Stages before the first file."""
OF_FILES = {"decode": "image load", "faces": "faces", "crop": "preprocess", "inference": "inference"}
"""Stage of a result → its name here, in the order in which the stages happen."""


class StageTimes(Stages):
    """Time by stage of a program that loads a detector and judges files one by one.

    Args:
        start: ``time.perf_counter()`` at the start of the program; the time since then was spent on importing.
        keep: Whether to keep the results whose times are added.

    Attributes:
        others: Meter of the share of the processors that other work takes; ``None`` where no results are kept.
        results: Results that were kept, each with the deciding face alone and without its images.
    """

    def __init__(self, start: float, *, keep: bool) -> None:
        super().__init__()
        self.others = CpuContention() if keep else None  # it looks at every process of the system
        self.start = start
        self.keep = keep
        self.results: list[Result] = []
        self.spent_ms |= dict.fromkeys((*LOADING, *OF_FILES.values(), "results"), 0.0)
        self.spent_ms["import"] = 1e3 * (time.perf_counter() - start)

    def loaded(self, detector: Predictor) -> None:
        """Divide the time of the stage ``load`` into the stages that the detector itself measured."""
        for stage, spent in detector.load_ms.items():
            self.spent_ms[stage] += spent
            self.spent_ms["load"] -= spent

    def add(self, result: Result) -> None:
        """Add the stages of one file."""
        if self.keep:
            face = (replace(face, evidence=None, crop=None, other_crops=(), frames=()) for face in result.faces[:1])
            self.results.append(replace(result, faces=tuple(face)))
        for stage, spent in result.timings_ms.items():
            self.spent_ms[OF_FILES.get(stage, stage)] += spent

    def complete(self) -> dict[str, float]:
        """Return all stages in ms, then ``other``, which no stage claims, and ``total``, the time since the start."""
        total_ms = 1e3 * (time.perf_counter() - self.start)
        return {**self.spent_ms, "other": max(0.0, total_ms - sum(self.spent_ms.values())), "total": total_ms}
