"""The blocks ``<!-- results: NAME -->`` of the project's pages: tables that are made from committed results.

:data:`BLOCKS` lists the blocks and the results that they are made from; ``publish.py`` makes those results. Given the
same results, a page is the same to the last byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import published_gpu
import published_shortcuts
import published_strengths
from deepfake_bench.card import marks
from deepfake_bench.card.tables import accuracy_on, robustness_on
from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import Estimate, Measurement, Report, SourceAccuracy
from deepfake_bench.records.targets import board, check_targets, documented
from deepfake_bench.records.times import others_line
from deepfake_bench.report.figures import meaningful
from deepfake_bench.report.labels import SIGNS, conditions_of, interval, number, short, short_name
from deepfake_bench.report.markdown import table
from deepfake_core import load
from deepfake_core.discovery import plugins
from deepfake_core.protect.protectors import levels
from deepfake_registry.manifest import scale_in_words
from published_files import Differences, Effect, Figures, Protection, Verdicts, labels_of, read, report_of, where

KIND = "results"
_SHIPPED = ("lite", "unet")
"""Detectors that ship with weights."""
_VERDICT = {"missed": "**missed**"}

_SPEED = (
    ("single_stream", "latency_ms_p50", "network, ms"),
    ("single_stream", "predict_ms_p50", "file to verdict, ms"),
    ("offline", "images_per_s", "inputs/s"),
    ("offline", "files_per_s", "files/s"),
    ("cold_start", "total_ms_p50", "cold start, ms"),
    ("single_stream", "peak_rss_mb", "peak memory, MB"),
    ("cold_start", "file_mb", "model file, MB"),
)
_VERDICTS = ("met", "missed", "not judged", "not measurable here")
_ATTACKS = {
    "noise": "noise",
    "smooth noise": "smooth noise",
    "brighter": "brighter",
    "protector": "`unet`",
    "PGD": "PGD",
}


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────


def speed(folder: Path) -> str:
    """Return latency, throughput, start-up time and size of every detector."""
    report = report_of(folder, "cpu")
    found: dict[tuple[str, str], dict[tuple[str, str], float | None]] = {}
    ran: set[str] = set()
    for row in report.measurements:
        if row.status == "measured":
            name = f"`{short_name(row.detector)}`"
            who = (name if row.weights == "trained" else f"{name}, {row.weights}", row.backend)
            found.setdefault(who, {}).update({(row.scenario, name): value for name, value in row.metrics.items()})
            ran.add(", ".join(filter(None, conditions_of(row)[1:])))
    columns = [(scenario, metric) for scenario, metric, _ in _SPEED]
    rows = [
        (*who, *(short(metrics.get(column)) for column in columns))
        for who, metrics in found.items()
        if any(column in metrics for column in columns)
    ]
    header = ("detector", "runtime", *(title for *_, title in _SPEED))
    said = (
        where(report.machine, report.created),
        f"Ran on: {'; '.join(sorted(ran))}.",
        others_line(report.measurements),
    )
    return f"{' '.join(filter(None, said))}\n\n{table(header, rows, numbers=range(2, len(header)))}"


def targets(folder: Path) -> str:
    """Return every documented target with its verdict, over all reports that exist."""
    names = ("cpu", "evaluation", "record", "gpu")
    reports = [report_of(folder, name) for name in names if (folder / f"{name}.json").is_file()]
    measured = [row for report in reports for row in report.measurements]
    lines = board([*measured, *_later(measured)])
    order = list(dict.fromkeys(row.detector for row in measured))
    lines.sort(key=lambda line: order.index(line[0].detector))
    rows = []
    for row, check in lines:
        verdict = "**missed**" if check.verdict == "missed" else check.verdict
        target = f"`{check.metric}` {SIGNS[check.comparison]} {check.target:.8g}"
        rows.append(
            (
                f"`{short_name(row.detector)}`",
                target,
                documented(check),
                f"{short(check.measured)} ({_conditions(row)})" if check.is_decided else "–",
                f"{verdict}: {check.reason}" if check.reason else verdict,
            )
        )
    counts: Counter[str] = Counter(check.verdict for _, check in lines)
    shown = [verdict for verdict in _VERDICTS if counts[verdict] or verdict != "not judged"]
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in shown)
    return f"{said}.\n\n{table(('detector', 'target', 'documented', 'measured', 'verdict'), rows)}"


def accuracy(folder: Path) -> str:
    """Return the accuracy of every detector on the evaluation set, beside the untrained probes."""
    report = report_of(folder, "evaluation")
    probes = {(row.detector, _dataset(row)): row for row in _measured(report, "untrained_probe")}
    parts = [where(report.machine, report.created)]
    for row in _measured(report, "accuracy"):
        parts += [f"**`{short_name(row.detector)}`.**", accuracy_on(row, probes.get((row.detector, _dataset(row))))]
    return "\n\n".join(parts)


def robustness(folder: Path) -> str:
    """Return the AUC of every detector on changed images of the evaluation set."""
    report = report_of(folder, "evaluation")
    parts = [where(report.machine, report.created)]
    for row in _measured(report, "robustness"):
        parts += [f"**`{short_name(row.detector)}`.**", robustness_on(row)]
    return "\n\n".join(parts)


def lite(folder: Path) -> str:
    """Return the accuracy of ``lite`` on the sources that have a label, with its false alarms, and its scale."""
    sources = list(_sources(folder, "lite"))
    rows = [
        (
            label,
            f"{source.real} + {source.fake}",
            interval(source.metrics["auc"]) if source.real else "–",
            interval(source.metrics["fakes_found"], ".0%"),
            interval(_false_alarms(source), ".0%") if source.real else "–",
            f"{source.unsure_rate:.0%}",
        )
        for label, source in sources
    ]
    band = load("lite").manifest.calibration
    header = ("source", "real + fake", "AUC", "fakes found", "false alarms", "unsure")
    return "\n\n".join(
        (
            table(header, rows, numbers=range(1, len(header))),
            f"From a P(fake) of {band.threshold:.0%} on, a fake counts as found and a real picture as a false alarm. "
            f"Verdicts are more cautious: {scale_in_words(band.unsure_low, band.unsure_high)}. The last column is the "
            "share of pictures in between.",
        )
    )


def unet(folder: Path) -> str:
    """Return the AUC of ``unet`` on the sources that have a label."""
    return _aucs(folder, "unet")


def pace(folder: Path) -> str:
    """Return the latency of ``lite`` in a sentence."""
    report = report_of(folder, "cpu")
    return "\n".join(
        f"With {row.threads} threads on {report.machine.cpu}, a face takes {short(row.metrics['latency_ms_p50'])} ms "
        f"in the network, and a 1080p JPEG {short(row.metrics['predict_ms_p50'])} ms from file to verdict."
        for row in report.measurements
        if (row.detector, row.scenario, row.status) == ("lite", "single_stream", "measured")
    )


def exported(folder: Path) -> str:
    """Return the table of exported files beside torch, optimum and the machine."""
    return _figures(read(folder, "exported", Figures))


def peers(folder: Path) -> str:
    """Return the table of ``dfbench`` beside other programs."""
    return _figures(read(folder, "peers", Figures))


def missed(folder: Path) -> str:
    """Return the list of goals that exported files miss."""
    rows = [row for row in read(folder, "exported", Figures).rows if row.verdict == "missed"]
    lines = (f"- {row.what.replace('**', '')}: {row.text()}, where {row.goal} was the goal" for row in rows)
    return "\n".join(lines) or "- nothing"


def foreign(folder: Path) -> str:
    """Return how far logits of other programs are from those of this project."""
    found = read(folder, "foreign", Differences).root
    models = [name for name in _SHIPPED if all(name in worst for worst in found.values())]
    rows = [(program, *(f"{worst[name]:.1g}" for name in models)) for program, worst in found.items()]
    return table(("", *(f"`{name}`" for name in models)), rows, numbers=range(1, len(models) + 1))


def protection(folder: Path) -> str:
    """Return the effect of the protection of ``unet`` on networks and on images."""
    found, labels = read(folder, "protection", Protection), labels_of(folder).networks
    attacks = {name: title for name, title in _ATTACKS.items() if any(item.attack == name for item in found.effects)}
    paths = list(dict.fromkeys(item.path for item in found.effects))
    cell = {(item.surrogate, item.path, item.attack): item for item in found.effects}
    changes, swaps = [], []
    for name in (*found.trained_against, *found.held_out):
        label = labels.get(name, f"`{name}`")
        shown = f"{label}, trained against" if name in found.trained_against else f"**{label}, not trained against**"
        for path in paths:
            row = [interval(cell[name, path, attack].change) for attack in attacks]
            changes.append((shown if path == paths[0] else "", path, *row))
        effects = [cell[name, paths[0], attack] for attack in attacks]
        if effects[0].swap_ssim is not None:
            swaps.append((label, *map(_swap, effects)))
    pictures = [
        (_ATTACKS[name], interval(item.ssim), interval(item.psnr_db, ".1f")) for name, item in found.quality.items()
    ]
    header = ("network", "what happened to the picture", *attacks.values())
    return "\n\n".join(
        (
            f"`{found.model}` in {found.runtime}, {found.faces} faces, epsilon {found.epsilon:g} "
            f"({levels(found.epsilon)} levels), PGD with {found.pgd_steps} steps. Change of the answer's structure "
            "over its spread, with 95 % intervals over faces:",
            table(header, changes, numbers=range(2, len(header))),
            "The swap of a changed picture against the swap of the picture as it is, SSIM and PSNR:",
            table(("network", *attacks.values()), swaps, numbers=range(1, len(attacks) + 1)),
            "The changed picture itself against the picture as it is:",
            table(("change", "SSIM", "PSNR, dB"), pictures, numbers=(1, 2)),
        )
    )


def verdicts(folder: Path) -> str:
    """Return what the protection of ``unet`` does to the verdicts of a detector."""
    found, labels = read(folder, "verdicts", Verdicts), labels_of(folder).sources
    rows = []
    for item in found.sources:
        called = [
            f"{item.count(label, before='fake')} → {item.count(label, after='fake')} of {total}" if total else "–"
            for label, total in (("fake", item.fake), ("real", item.real))
        ]
        rows.append(
            (
                labels.get(item.source, item.source),
                item.way,
                *called,
                f"{item.count('fake', 'fake', 'real')}" if item.fake else "–",
                interval(item.change_fake, "+.3f"),
                interval(item.change_real, "+.3f"),
                f"{interval(item.auc_before)} → {interval(item.auc_after)}"
                if item.auc_before.value is not None
                else "–",
                f"{item.marked} of {item.fake + item.real}",
                f"{item.marked_before}",
            )
        )
    header = (
        "source", "what happened to the picture", "fakes called fake", "photographs called fake", "fakes: fake → real",
        "P(fake) of fakes", "P(fake) of photographs", "AUC", "mark read", "mark read without protection",
    )  # fmt: skip
    return "\n\n".join(
        (
            f"`{found.model}` at epsilon {found.epsilon:g}, judged by `{found.detector}` as if nothing marked "
            "protected faces. Before → after protection; changes of P(fake) are means with 95 % intervals:",
            table(header, rows, numbers=range(2, len(header))),
        )
    )


class Block(NamedTuple):
    """Text between two marks."""

    result: str
    """Name of the result that it is made from."""
    text: Callable[[Path], str]
    """Function from the folder of the results to the text."""
    without: str = ""
    """Text where that result is missing; a block without one stays as it is."""


_WITHOUT = {published_gpu.RESULT: published_gpu.NOTHING}
BLOCKS: Mapping[str, Block] = MappingProxyType(
    {
        block.__name__: Block(result, block, _WITHOUT.get(result, ""))
        for result, blocks in {
            "cpu": (speed, targets, pace),
            "evaluation": (accuracy, robustness, lite, unet, published_strengths.strengths),
            "exported": (exported, missed),
            "peers": (peers,),
            "foreign": (foreign,),
            "protection": (protection,),
            "verdicts": (verdicts,),
            published_gpu.RESULT: (published_gpu.gpu,),
            published_shortcuts.RESULT: (published_shortcuts.shortcuts,),
        }.items()
        for block in blocks
    }
)


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────


def contents(folder: Path) -> dict[str, str]:
    """Return name → text of every block whose result is in the folder of the results, or that can do without."""
    return {
        name: block.text(folder) if (folder / f"{block.result}.json").is_file() else block.without
        for name, block in BLOCKS.items()
        if block.without or (folder / f"{block.result}.json").is_file()
    }


def pages(root: Path) -> Iterator[Path]:
    """Yield the pages of the project that mark blocks.

    Raises:
        DeepfakeError: A page marks an unknown block, or leaves one open.
    """
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted(root.glob("plugins/*/README.md"))):
        if f"<!-- {KIND}: " in marks.read_page(page):
            marks.marked(page, KIND, BLOCKS)
            yield page


# ── parts of blocks ──────────────────────────────────────────────────────────────────────────────────────────


def _measured(report: Report, scenario: str) -> Iterator[Measurement]:
    """Yield the measurements on real data that mean something."""
    for row in report.measurements:
        if row.scenario == scenario and meaningful(row) and _dataset(row) != PLUMBING.name:
            yield row


def _sources(folder: Path, detector: str) -> Iterator[tuple[str, SourceAccuracy]]:
    """Yield the accuracy of a detector on each source that has a label, with the label, in the order of the labels."""
    labels = labels_of(folder).sources
    for row in _measured(report_of(folder, "evaluation"), "accuracy"):
        found = {source.source: source for source in row.sources} if row.detector == detector else {}
        yield from ((labels[name], found[name]) for name in labels if name in found)


def _later(measured: Iterable[Measurement]) -> Iterator[Measurement]:
    """Yield the measurements with those targets that their detectors have documented since."""
    for row in measured:
        detector, known = plugins.detectors().get(row.detector), {(item.metric, item.condition) for item in row.targets}
        targets = detector.spec.targets if detector else ()
        if checks := check_targets((item for item in targets if (item.metric, item.condition) not in known), row):
            yield row.model_copy(update={"targets": checks})


def _aucs(folder: Path, detector: str) -> str:
    rows = [
        (label, f"{source.real} + {source.fake}", interval(source.metrics["auc"]))
        for label, source in _sources(folder, detector)
        if source.real
    ]
    return table(("source", "real + fake", "AUC"), rows, numbers=(1, 2))


def _false_alarms(source: SourceAccuracy) -> Estimate:
    """Return the share of real pictures that are taken for fakes at the threshold."""
    passed = source.metrics["reals_passed"]
    ends = [None if end is None else 1 - end for end in (passed.value, passed.high, passed.low)]
    return Estimate(value=ends[0], low=ends[1], high=ends[2])


def _dataset(row: Measurement) -> str:
    return row.dataset.name if row.dataset else ""


def _conditions(row: Measurement) -> str:
    return ", ".join(filter(None, (*conditions_of(row), _dataset(row))))


def _figures(found: Figures) -> str:
    rows = [(row.what, row.text(), row.goal, _VERDICT.get(row.verdict, row.verdict)) for row in found.rows]
    return "\n\n".join(
        (
            where(found.machine, found.created),
            table(("figure", "measured", "goal", ""), rows, numbers=(1, 2)),
            f"Other work took {found.others_share:.1%} of the processors' time.",
        )
    )


def _swap(item: Effect) -> str:
    assert item.swap_ssim is not None, "only face swappers are asked"
    assert item.swap_psnr_db is not None, "measured beside the SSIM"
    return f"{interval(item.swap_ssim)}, {number(item.swap_psnr_db.value, '.1f')} dB"
