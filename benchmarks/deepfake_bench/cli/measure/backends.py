"""``dfbench backends``: the backends that are installed, and the time that each takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import model_of
from deepfake_bench.cli.output.options import Format, Output, Threads
from deepfake_bench.cli.output.text import ELSEWHERE, columns

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.runtimes.autotune import Timing
    from deepfake_core.runtimes.base import Runtime


def backends(
    detectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DETECTOR",
            autocompletion=completion.detectors,
            help="Names, see dfbench list, or model files; by default every installed detector that comes with its "
            "weights.",
        ),
    ] = None,
    output: Output = Format.table,
    again: Annotated[
        bool, typer.Option("--again", help="Measure again, instead of showing what was measured before.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Show how fast each backend is on this CPU.

    The time for one input is shown for each installed backend, and the backend that --backend fastest selects.

    Examples:
        dfbench backends
        dfbench backends lite --threads 2 --again
    """
    from deepfake_core.discovery import plugins
    from deepfake_core.discovery.placed import placed
    from deepfake_core.runtimes.autotune import COMPARED, best, version
    from deepfake_core.runtimes.cpu_contention import busy_with_others
    from deepfake_core.runtimes.threads import allowed_threads

    named = detectors or [
        name
        for name, entry in plugins.detectors().items()
        if entry.spec.weights is not None or placed(name) is not None
    ]
    count = threads or allowed_threads()
    rows: list[dict[str, Any]] = []
    for name in named:
        timings = _timings(name, count, again)
        taken = best(timings)
        rows += [
            {"detector": name, **asdict(timing), "version": version(timing.backend), "taken": timing.backend == taken}
            for timing in timings
        ]
    if output is Format.json:
        typer.echo(json.dumps({"threads": count, "timings": rows}, indent=2))
        return
    head = ("detector", "backend", "version", "ms", "difference", "note")
    typer.echo(columns([head, *map(_row, rows)], elsewhere=ELSEWHERE))
    shares = [row["others_share"] for row in rows if row["others_share"] is not None]
    if busy := busy_with_others(max(shares, default=None)):
        typer.echo(f"these times may mislead: {busy}: dfbench backends --again", err=True)
    absent = [name for name in COMPARED if version(name) is None]
    if absent:
        typer.echo(f"not installed: {', '.join(f'{name} (deepfake-core[{name}])' for name in absent)}", err=True)


def _timings(name: str, threads: int, again: bool) -> list[Timing]:
    from deepfake_core.errors import DeepfakeError, MissingExtra
    from deepfake_core.loading.load import load
    from deepfake_core.runtimes import autotune

    loaded: dict[str, LoadedDetector] = {}
    failed: list[Timing] = []
    for backend in autotune.COMPARED:
        try:
            loaded[backend] = load(model_of(name), backend=backend, device="cpu", threads=threads)
        except MissingExtra:
            continue
        except DeepfakeError as error:
            if not loaded:
                raise
            failed.append(autotune.Timing(backend, None, None, str(error)))
    artifacts = {backend: detector.artifacts[0] for backend, detector in loaded.items()}
    timings = None if again else autotune.cached_timings(artifacts, threads)
    if timings is None:
        openers = {backend: _opener(detector) for backend, detector in loaded.items()}
        timings = autotune.measure_and_cache(openers, artifacts, threads)
    return [*timings, *failed]


def _opener(detector: LoadedDetector) -> Callable[[], Runtime]:
    return lambda: detector.runtime


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    styles = (("ms", ".2f"), ("difference", ".1e"))
    ms, apart = ("–" if row[key] is None else f"{row[key]:{style}}" for key, style in styles)
    note = row["reason"] or ("taken" if row["taken"] else "")
    return row["detector"], row["backend"], row["version"] or "", ms, apart, note
