"""Predictions: labelled samples with a detector's results, and the CSV file that ``dfbench run --out`` writes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from sys import intern
from typing import TypeAlias, cast, get_args

from deepfake_bench.records.report import SEEN
from deepfake_core.datasets import Sample
from deepfake_core.datasets.sources import shared_reals
from deepfake_core.datasets.tables import rows
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.samples import is_video
from deepfake_core.handle.results import Result, Verdict
from deepfake_registry.files import atomic_path

Prediction: TypeAlias = tuple[Sample, Result]
Predictions: TypeAlias = dict[str, list[Prediction]]
"""Variant → its predictions; the variant of files as they are is empty."""

COLUMNS = (
    "path",
    "source",
    "group",
    "variant",
    "fake",
    "p_fake",
    "logit",
    "verdict",
    "faces",
    "error",
    "frames",
    "seen",
)
"""Columns of the CSV file; ``seen`` is 1 for a group that trained the detector, as far as its package tells."""
COLUMNS_READ = ("path", "source", "group", "variant", "fake", "p_fake", "verdict", "error")
"""Columns that :func:`read_predictions` needs."""
LEVELS = {"pictures": "a picture or a frame", "videos": "a whole video"}


def by_level(predictions: Iterable[Prediction]) -> dict[str, list[Prediction]]:
    """Separate images from videos, as they were judged; levels without predictions are left out.

    The score of a video is a mean over frames, and ranks against those of videos alone.
    """
    found: dict[str, list[Prediction]] = {level: [] for level in LEVELS}
    for pair in predictions:
        found["videos" if is_video(*pair) else "pictures"].append(pair)
    return {level: rows for level, rows in found.items() if rows}


def by_source(predictions: Iterable[Prediction]) -> dict[str, list[Prediction]]:
    """Group predictions by the source of the sample; sources are in alphabetical order.

    The fakes of a part of a collection, such as one manipulation of FaceForensics++, are joined by the real samples of
    the collection: see :func:`~deepfake_core.datasets.sources.shared_reals`.
    """
    found: dict[str, list[Prediction]] = {}
    reals: dict[str, list[Prediction]] = {}
    for pair in predictions:
        found.setdefault(pair[0].source, []).append(pair)
        if not pair[0].is_fake:
            reals.setdefault(pair[0].source, []).append(pair)
    for name, shared in shared_reals(reals, found).items():
        found[name] = [*chain.from_iterable(reals[source] for source in shared), *found[name]]
    return dict(sorted(found.items()))


def seen_files(predictions: Mapping[str, Sequence[Prediction]]) -> int:
    """Return the number of files whose groups trained the detector."""
    return len({sample.name for rows in predictions.values() for sample, result in rows if SEEN in result.warnings})


def write_predictions(target: Path, predictions: Mapping[str, Sequence[Prediction]]) -> None:
    """Write every score as CSV, by variant; the logit is that of the deciding face, and empty for a video."""
    with (
        atomic_path(target) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as f,
    ):
        writer = csv.writer(f)
        writer.writerow(COLUMNS)
        for variant, pairs in predictions.items():
            for sample, result in pairs:
                score = "" if result.p_fake is None else f"{result.p_fake:.6f}"
                picture = result.faces and result.faces[0].time_s is None
                logit = f"{result.faces[0].logit:.6f}" if picture else ""
                labels = (sample.name, sample.source, sample.group, variant, int(sample.is_fake))
                counts = (result.verdict, len(result.faces), result.error, result.frames, int(SEEN in result.warnings))
                writer.writerow((*labels, score, logit, *counts))


def read_predictions(file: Path) -> Predictions:
    """Read a CSV file of predictions; results have no faces.

    Raises:
        TrainingDataError: The file is no such file, or lists a sample twice.
    """
    found: Predictions = {}
    seen: dict[str, set[str]] = {}
    for line, cells in rows(file, COLUMNS_READ):
        where = f"{file}: row {line}"
        of_variant = seen.setdefault(cells["variant"], set())
        if cells["path"] in of_variant:
            raise TrainingDataError(f"{where}: {cells['path']} is there twice; write it anew by dfbench run --out")
        of_variant.add(cells["path"])
        if cells["fake"] not in ("0", "1") or cells["verdict"] not in get_args(Verdict):
            raise TrainingDataError(f"{where}: is no prediction; write it anew by dfbench run --out")
        found.setdefault(cells["variant"], []).append(_prediction(cells, where))
    if not found:
        raise TrainingDataError(f"{file}: holds no prediction; write it anew by dfbench run --out")
    return found


def _prediction(cells: Mapping[str, str], where: str) -> Prediction:
    try:
        p_fake = float(cells["p_fake"]) if cells["p_fake"] else None
    except ValueError:
        raise TrainingDataError(f"{where}: p_fake is {cells['p_fake']!r}; expected a number or nothing") from None
    if p_fake is not None and not 0 <= p_fake <= 1:
        raise TrainingDataError(f"{where}: p_fake is {p_fake:g}; expected a number from 0 to 1")
    # Texts that many rows share are kept once.
    source, group, verdict, error = (intern(cells[name]) for name in ("source", "group", "verdict", "error"))
    sample = Sample(Path(cells["path"]), cells["fake"] == "1", source, group)
    mode = ""
    if cells.get("faces", "0") != "0":  # what has faces, but no logit of its own, is a video
        mode = "picture" if cells.get("logit") else "video"
    seen = (SEEN,) if cells.get("seen") == "1" else ()
    return sample, Result(
        cells["path"], cast("Verdict", verdict), p_fake, (), "", "", mode=mode, error=error, warnings=seen
    )
