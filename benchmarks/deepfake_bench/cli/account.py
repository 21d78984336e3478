"""``dfbench predict --timings``: where the time went, by stage and by file."""

from __future__ import annotations

import sys
import time

from deepfake_bench.cli.text import printable
from deepfake_bench.cli.writers import deciding_face, wide_console
from deepfake_core.loaded import LoadedDetector
from deepfake_core.results import Result

STAGES = ("decode", "faces", "crop", "inference")


class Account:
    """Seconds by stage; what no stage claims is ``other``, so that the shares add up to the total.

    Args:
        start: ``time.perf_counter()`` when the command began.
    """

    def __init__(self, start: float) -> None:
        self.start = start
        self.last = start
        self.stages: dict[str, float] = {}
        self.results: list[Result] = []
        self.mark("import")

    def mark(self, stage: str) -> None:
        """Give the time since the last mark to a stage."""
        now = time.perf_counter()
        self.stages[stage] = now - self.last
        self.last = now

    def add(self, result: Result) -> None:
        """Add the stages of one file."""
        self.results.append(result)
        for stage, spent_ms in result.timings_ms.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + spent_ms / 1e3

    def show(self, detector: LoadedDetector, name: str) -> None:
        """Print the account to standard error, so that it never mixes with the results."""
        from rich.table import Table

        total = time.perf_counter() - self.start
        console = wide_console(sys.stderr)
        runtime = detector.runtime
        packaged = detector.spec.weights if detector.spec is not None and detector.spec.name == name else None
        console.print(f"\ndevice  {runtime.device} ({runtime.name})", markup=False)
        origin = packaged or printable(name)
        console.print(f"cache   {origin} ({detector.manifest.weights}, on this machine)", markup=False)
        stages = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("stage", "seconds", "share"):
            stages.add_column(name, justify="left" if name == "stage" else "right")
        rows = {**self.stages, "other": max(0.0, total - sum(self.stages.values())), "total": total}
        for stage, seconds in rows.items():
            stages.add_row(stage, f"{seconds:.4f}", f"{seconds / total:.1%}")
        console.print(stages)
        console.print(self._files())

    def _files(self) -> object:
        from rich.table import Table
        from rich.text import Text

        files = Table(box=None, header_style="bold", pad_edge=False)
        files.add_column("file", overflow="fold")
        for name in ("size", "mode", "logit", "P(fake)", "label", "confidence", "seconds"):
            files.add_column(name, justify="right", no_wrap=True)
        for result in self.results:
            face = deciding_face(result)
            p_fake = result.p_fake
            files.add_row(
                Text(printable(result.source)),
                f"{result.width}×{result.height}" if result.width else "",
                result.mode,
                "" if face is None else f"{face.logit:.4f}",
                "" if p_fake is None else f"{p_fake:.2%}",
                result.verdict,
                "" if p_fake is None else f"{max(p_fake, 1 - p_fake):.2%}",
                f"{sum(result.timings_ms.values()) / 1e3:.4f}",
            )
        return files
