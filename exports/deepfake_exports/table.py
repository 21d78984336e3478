"""Measure each export of a detector: its differences from the network, its size and its speed."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepfake_core.discovery.plugins import exporter_spec
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.runtimes.cpu_contention import CpuContention, busy_among
from deepfake_core.timing import medians_ms
from deepfake_exports.parity import TIMED, Run, change_of, known_scores, probes, scores_of, torch_run
from deepfake_exports.request import graph_of, labelled
from deepfake_registry.files import atomic_path, write_atomic
from deepfake_registry.manifest import ModelManifest

JSON, PAGE = "parity.json", "PARITY.md"
"""Names of the files that hold the table as data and as a page."""
COLUMNS = (
    "detector", "weights", "format", "precision", "max Δlogit", "ΔAUC", "mean Δp", "MB", "ms", "× torch eager",
    "inputs",
)  # fmt: skip
HEAD = f"""\
# Exports compared with their networks

`dfbench parity` writes this page. Each exported file was run in its own runtime and compared with the network in torch.
A file that did not agree with it was refused, and its row gives the reason. Δlogit is the largest difference over edge
cases and real inputs. ΔAUC and the mean change of the calibrated P(fake) are over the labelled inputs in the last
column. ΔAUC is not checked for `untrained` weights, which are random. Times are medians at batch size 1 on the machine
that made the table; × torch eager is the time of eager torch divided by this time, both measured in turns.

| {" | ".join(COLUMNS)} |
| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """Measurements of one export: a row of the table.

    Attributes:
        detector: Name of the detector.
        version: Version of its weights.
        weights: Status of its weights: ``trained``, ``pretrained`` or ``untrained``.
        format: Format of the export.
        precision: Precision of the export.
        reason: Reason why there is no export; empty where it passed its gate.
        size_mb: Size of all its files, in 10⁶ bytes.
        logit: Largest ``|Δlogit|`` from the torch network, over edge cases and real inputs.
        auc: ``|ΔAUC|`` on the labelled inputs; ``None`` without labelled inputs.
        p_fake: Mean ``|Δp_fake|`` on the labelled inputs; without them, on the inputs of ``logit``.
        ms: Median time of one input in the format's own runtime, in milliseconds.
        ratio: Median time in eager torch divided by ``ms``; both are measured in turns.
        data: Dataset of the labelled inputs; empty without labelled inputs.
        samples: Number of labelled inputs.
        others_share: Share of the processors that other work took beside the times, in [0, 1]; ``None`` where it is not
            known.
    """

    detector: str
    version: str
    weights: str
    format: str
    precision: str
    reason: str = ""
    size_mb: float | None = None
    logit: float | None = None
    auc: float | None = None
    p_fake: float | None = None
    ms: float | None = None
    ratio: float | None = None
    data: str = ""
    samples: int = 0
    others_share: float | None = None


def cell(
    loaded: LoadedDetector,
    format: str,
    precision: str,
    *,
    data: str = "",
    keep: Path | None = None,
    **options: Any,
) -> Cell:
    """Export to a temporary folder and measure the export; where the gate refuses it, the cell holds the reason.

    Args:
        loaded: Detector whose network is at hand.
        format: Format of an installed exporter.
        precision: Precision that the format offers.
        data: Name of the labelled inputs in the table.
        keep: Folder that the exported files, named ``DETECTOR-FORMAT-PRECISION``, are copied to; by default they are
            deleted.
        **options: ``calibration_images``, ``uint8 [N, …]``, their ``labels``, ``int64 [N]``, and the network's
            ``logits`` of them, ``float32 [N]``, which :func:`with_logits` computes once for several cells.
    """
    manifest = loaded.manifest
    who = (manifest.name, manifest.version, manifest.weights, format, precision)
    with TemporaryDirectory() as folder:
        out = Path(folder) / _file(manifest.name, format, precision)
        try:
            loaded.export(format, precision, out=out, **options)
        except DeepfakeError as error:
            return Cell(*who, reason=str(error).replace(f"{folder}/", "").removesuffix("; nothing written"))
        reference = reference_of(loaded)
        exported = run_of(format, out, manifest)
        images = probes(manifest.preprocess, options.get("calibration_images"))
        before, after = (scores_of(run, images) for run in (reference, exported))
        worst = float(np.abs(before - after).max())
        auc: float | None = None
        fake = np.arange(len(before)) % 2
        if options.get("labels") is not None:
            known = labelled(options["calibration_images"], options["labels"], options.get("logits"))
            before, after, fake = known_scores(reference, known), scores_of(exported, known.images), known.fake
        change = change_of(before, after, fake, manifest)
        if options.get("labels") is not None:
            auc = change.auc
        ms, eager, others_share = _speed(exported, reference, images[:1])
        files = list(Path(folder).iterdir())
        size = sum(file.stat().st_size for file in files) / 1e6
        if keep is not None:
            for file in files:
                with atomic_path(keep / file.name) as temporary:
                    shutil.copyfile(file, temporary)
        counted = (data, len(fake)) if auc is not None else ("", 0)
        return Cell(*who, "", size, worst, auc, change.p, ms, eager / ms, *counted, others_share)


def with_logits(loaded: LoadedDetector, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of :func:`cell` with the network's logits of the labelled inputs, where there are any."""
    if options.get("labels") is None:
        return dict(options)
    return {**options, "logits": scores_of(reference_of(loaded), options["calibration_images"])}


def reference_of(loaded: LoadedDetector) -> Run:
    """Return a function that runs the detector's preprocessing and network in torch."""
    return torch_run(graph_of(loaded.network, loaded.manifest), loaded.manifest)


def timed_again(loaded: LoadedDetector, item: Cell, kept: Path) -> Cell:
    """Measure the speed of a cell again, on the file that :func:`cell` kept.

    Args:
        loaded: Detector of the cell.
        item: The cell.
        kept: Folder of the exported files.

    Returns:
        A cell with the new times; the same cell where there is no such file.
    """
    file = kept / _file(item.detector, item.format, item.precision)
    if item.reason or not file.is_file():
        return item
    reference = reference_of(loaded)
    noise = probes(loaded.manifest.preprocess, None)[2:3]
    ms, eager, others_share = _speed(run_of(item.format, file, loaded.manifest), reference, noise)
    return replace(item, ms=ms, ratio=eager / ms, others_share=others_share)


def _speed(exported: Run, reference: Run, image: NDArray[np.uint8]) -> tuple[float, float, float | None]:
    """Return the median times of both, in milliseconds, and the share of the processors that other work took."""
    others = CpuContention()
    times = medians_ms({"exported": partial(exported, image), "torch": partial(reference, image)}, TIMED)
    return times["exported"], times["torch"], others.share()


def _file(detector: str, format: str, precision: str) -> str:
    return f"{detector}-{format}-{precision}{exporter_spec(format).suffix}"


def run_of(format: str, path: Path, manifest: ModelManifest) -> Run:
    """Return a function that runs an exported file in the runtime of its format.

    Args:
        format: Format of the file.
        path: The file; a TorchScript or ``pt2`` file can run code, so it must be one that was written here.
        manifest: Manifest that names the outputs.

    Raises:
        DeepfakeError: There is no runtime for the format.
    """
    if format == "onnx":
        from deepfake_exports.formats.onnx import ort_run

        return ort_run(path)
    if format == "openvino":
        from deepfake_exports.formats.openvino import openvino_run

        return openvino_run(path)
    readers: dict[str, Callable[[], Any]] = {
        "pt2": lambda: torch.export.load(path).module(),
        "torchscript": lambda: torch.jit.load(str(path), map_location="cpu"),  # type: ignore[no-untyped-call]
    }
    if format not in readers:
        raise DeepfakeError(
            f"nothing here runs the format {format!r}; it is one of onnx, openvino, {', '.join(readers)}"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning)
        return torch_run(readers[format](), manifest)


class Table:
    """Table of cells, in the order in which they were first added; a newer cell replaces an older one.

    Args:
        cells: Cells of the table.
    """

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self.cells: dict[tuple[str, str, str], Cell] = {}
        for item in cells:
            self.add(item)

    @classmethod
    def read(cls, folder: Path, *, anew: bool = False) -> Table:
        """Read the table in a folder; it is empty where the folder holds none.

        Args:
            folder: Folder of ``parity.json``.
            anew: Whether to begin with an empty table in any case.

        Raises:
            DeepfakeError: The file cannot be read.
        """
        file = folder / JSON
        if anew or not file.is_file():
            return cls()
        try:
            return cls(Cell(**entry) for entry in json.loads(file.read_text())["cells"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DeepfakeError(f"{file}: not a table of this version ({error}); begin anew with --again") from error

    def write(self, folder: Path) -> None:
        """Write ``parity.json`` and ``PARITY.md`` to a folder."""
        cells = [asdict(item) for item in self.cells.values()]
        write_atomic(folder / JSON, json.dumps({"cells": cells}, indent=1) + "\n")
        write_atomic(folder / PAGE, self.markdown())

    def add(self, item: Cell) -> None:
        """Add a cell, or replace the one of the same detector, format and precision."""
        self.cells[item.detector, item.format, item.precision] = item

    def of(self, manifest: ModelManifest) -> list[Cell]:
        """Return the cells of exactly these weights."""
        return [
            item
            for item in self.cells.values()
            if item.detector == manifest.name and self.holds(manifest, item.format, item.precision)
        ]

    def holds(self, manifest: ModelManifest, format: str, precision: str) -> bool:
        """Whether the table has a cell of exactly these weights, in this format and precision."""
        found = self.cells.get((manifest.name, format, precision))
        return found is not None and (found.version, found.weights) == (manifest.version, manifest.weights)

    def markdown(self) -> str:
        """Return the table in Markdown, one line for each cell."""
        busy = self.busy_line()
        return HEAD + "".join(f"{_line(item)}\n" for item in self.cells.values()) + (busy and f"\n{busy}\n")

    def busy_line(self) -> str:
        """Return in one sentence that other work disturbed the times; empty where it did not."""
        count, share = busy_among(item.others_share for item in self.cells.values())
        if not count:
            return ""
        timed = sum(item.ms is not None for item in self.cells.values())
        return (
            f"Other work used {share} of the processors while {count} of {timed} exports were timed; repeat on an idle "
            "machine: dfbench parity --only-speed --keep FOLDER"
        )


def _line(item: Cell) -> str:
    cells = texts(item)
    return f"| {' | '.join(cells)} |" if not item.reason else f"| {' | '.join(cells[:5])} | | | | | | |"


def texts(item: Cell) -> tuple[str, ...]:
    """Return a row as text, in the order of :data:`COLUMNS`; where there is no export, the first number says why."""
    who = item.detector, item.weights, item.format, item.precision
    if item.reason:
        return *who, f"absent: {item.reason}", *[""] * 6
    numbers = (item.logit, ".1e"), (item.auc, ".4f"), (item.p_fake, ".1e"), (item.size_mb, ".2f"), (item.ms, ".1f")
    shown = ("–" if value is None else f"{value:{style}}" for value, style in (*numbers, (item.ratio, ".2f")))
    return *who, *shown, f"{item.samples} of {item.data}" if item.samples else "–"
