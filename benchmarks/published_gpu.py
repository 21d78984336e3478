"""The page's part about a GPU: tables of its report, and the picture of what the parts of a training step take."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from deepfake_bench.records.report import Measurement, Report
from deepfake_bench.report.labels import short, short_name
from deepfake_bench.report.markdown import table
from deepfake_bench.runner.launcher import ENDED_EARLY
from deepfake_core.errors import DeepfakeError
from published_files import report_of, where

RESULT = "gpu"
PICTURE = "gpu-shares.svg"
"""Name of the picture, in the folder of the documentation's pictures."""
NOTHING = (
    "**No GPU has been measured yet.** The tables and the picture appear here when there is a file "
    "`benchmarks/results/gpu.json`, which [three lines make](benchmark.md#a-machine-with-a-gpu)."
)
"""Text in place of the tables where there is no report."""

_TRAINING = (
    ("images_per_s_on_device", "ready"),
    ("images_per_s_compiled", "ready, compiled"),
    ("images_per_s_pairs", "pairs"),
    ("images_per_s_store", "store"),
    ("pairs_over_ready", "pairs / ready"),
    ("store_over_ready", "store / ready"),
    ("pairs_difference", "device – host, grey levels"),
    ("gpu_memory_gb", "memory, GB"),
    ("gpu_allocated_gb", "allocated, GB"),
    ("gpu_over_cpu", "GPU / CPU"),
    ("mixed_over_full", "mixed / full precision"),
    ("mfu", "MFU"),
)
_INFERENCE = (
    ("latency_ms_p50", "network, ms"),
    ("latency_ms_p95", "p95, ms"),
    ("predict_ms_p50", "file to verdict, ms"),
    ("images_per_s", "inputs/s"),
    ("best_batch", "at a batch of"),
)
_SHARES = ("data", "augment", "forward", "backward", "optimizer")
_COLOURS = ("#8aa8f2", "#efb118", "#6cc5b0", "#3ca951", "#9c6b4e")


def gpu(folder: Path) -> str:
    """Return the rates of training and inference, the shares of a step, and what was not measured."""
    report = report_of(folder, RESULT)
    trained = _merged(_measured(report, "train_throughput"), ("recipe", "batch"))
    judged = _merged((*_measured(report, "single_stream"), *_measured(report, "offline")), ())
    parts = [
        _where(report, folder / f"{RESULT}.json"),
        "**Training**, images a second and ratios of them:",
        table(
            ("detector", "recipe", "batch", *(title for _, title in _TRAINING)),
            [(*who, *(short(figures.get(name)) for name, _ in _TRAINING)) for who, figures in trained.items()],
            numbers=range(3, 3 + len(_TRAINING)),
        ),
    ]
    if rows := [(*who, *_per_cent(figures)) for who, figures in trained.items() if _has_shares(figures)]:
        parts += [
            f"**Shares of a training step**, whose parts follow one another here:\n\n![Shares of a training step]"
            f"(assets/{PICTURE})",
            table(("detector", "recipe", "batch", *_SHARES), rows, numbers=range(3, 3 + len(_SHARES))),
        ]
    if judged:
        parts += [
            "**Inference**, warm, at batch 1, and the rate at the best batch:",
            table(
                ("detector", "runtime", *(title for _, title in _INFERENCE)),
                [(*who, *(short(figures.get(name)) for name, _ in _INFERENCE)) for who, figures in judged.items()],
                numbers=range(2, 2 + len(_INFERENCE)),
            ),
        ]
    remarks = list(dict.fromkeys(_remarks(report.measurements)))
    return "\n\n".join([*parts, *(["\n".join(f"- {remark}" for remark in remarks)] if remarks else [])])


def shares_picture(folder: Path) -> str:
    """Return the picture of what the parts of a step take, as SVG; empty without a report that has them."""
    if not (folder / f"{RESULT}.json").is_file():
        return ""
    rows = _merged(_measured(report_of(folder, RESULT), "train_throughput"), ("recipe", "batch")).items()
    bars = [(" ".join(who[:2]).replace("`", ""), figures) for who, figures in rows if _has_shares(figures)]
    if not bars:
        return ""
    width, left, row, top = 720, 150, 30, 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + row * len(bars)}" role="img" '
        'font-family="sans-serif" font-size="13"><title>Shares of a training step</title>'
        f'<rect width="{width}" height="{top + row * len(bars)}" fill="#fff"/>'
    ]
    for number, (part, colour) in enumerate(zip(_SHARES, _COLOURS, strict=True)):
        x: float = left + 110 * number
        lines.append(f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 17}" y="19">{part}</text>')
    for number, (name, figures) in enumerate(bars):
        y, x = top + row * number, left
        lines.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        for part, colour in zip(_SHARES, _COLOURS, strict=True):
            share = figures.get(f"share_{part}") or 0.0
            wide = share * (width - left - 10)
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="22" fill="{colour}"/>')
            if share >= 0.07:
                lines.append(f'<text x="{x + wide / 2:.1f}" y="{y + 16}" text-anchor="middle">{share:.0%}</text>')
            x += wide
    return "\n".join([*lines, "</svg>", ""])


def _measured(report: Report, scenario: str) -> list[Measurement]:
    return [row for row in report.measurements if (row.scenario, row.status) == (scenario, "measured")]


def _merged(rows: Iterable[Measurement], conditions: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, float | None]]:
    """Return the figures of all measurements of the same; of a figure that was measured twice, the first counts."""
    found: dict[tuple[str, ...], dict[str, float | None]] = {}
    for row in rows:
        said = tuple(row.conditions.get(name, "") for name in conditions) if conditions else (row.backend,)
        figures = found.setdefault((f"`{short_name(row.detector)}`", *said), {})
        figures.update({name: value for name, value in row.metrics.items() if name not in figures})
    return found


def _has_shares(figures: dict[str, float | None]) -> bool:
    return any(figures.get(f"share_{part}") for part in _SHARES)


def _per_cent(figures: dict[str, float | None]) -> list[str]:
    return [f"{figures.get(f'share_{part}') or 0.0:.0%}" for part in _SHARES]


def _where(report: Report, file: Path) -> str:
    """Return the GPU, its machine and the day in a sentence.

    Raises:
        DeepfakeError: The report is not of a GPU.
    """
    measured = [row for row in report.measurements if row.status == "measured" and not row.device.startswith("cpu")]
    if not measured:
        raise DeepfakeError(f"{file}: nothing in it was measured on a GPU; remove it, or run benchmarks/gpu.sh there")
    about = [row.conditions["gpu"] for row in measured if "gpu" in row.conditions]
    return f"{(about or [measured[0].device])[0]}; {where(report.machine, report.created)}"


def _remarks(rows: Iterable[Measurement]) -> Iterable[str]:
    """Yield what was not measured, and why."""
    for row in rows:
        who = f"`{short_name(row.detector)}`, `{row.scenario}`, {row.backend}"
        if row.status != "measured":
            yield f"{who}: {row.status}: {row.reason}"
        if ENDED_EARLY in row.conditions:
            yield f"{who}: {row.conditions[ENDED_EARLY]}; what was measured by then counts"
        yield from (
            f"{who}: `{what}`: {text}" for what, text in row.conditions.items() if text.startswith("not measured: ")
        )
