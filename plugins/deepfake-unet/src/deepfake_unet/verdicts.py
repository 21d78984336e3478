"""``python -m deepfake_unet.verdicts``: what protection does to the verdicts of a detector.

Detectors see a protected picture differently, which can hide a fake. The scores are compared before and after, as if
nothing marked protected faces, and how often the mark is read is counted beside.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from deepfake_core import LoadedDetector, Sample, load
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.evaluation.metrics import grouped_bootstrap, roc_auc
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.progress import track
from deepfake_core.protect.protectors import EPSILON, change_of, load_protector
from deepfake_registry.files import write_atomic
from deepfake_unet.command import run
from deepfake_unet.effects import PATHS, Images, bounded


def _cropped(image: Images) -> Images:
    return image[len(image) // 20 :, : -(image.shape[1] // 12)]


WAYS: dict[str, Callable[[Images], Images]] = {**PATHS, "cropped": _cropped}
"""Degradation of a picture before it is judged, by name."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval by the bootstrap; ``None`` where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Record:
    """What protection does to the verdicts on the pictures of one source after one degradation.

    Attributes:
        source: Name of the source.
        way: Name of the degradation: a key of :data:`WAYS`.
        real: Number of real pictures in which a face was found before and after.
        fake: Number of fakes.
        changes: ``"label: verdict before > verdict after"`` → number of pictures.
        change_real: Mean change of P(fake) of real pictures.
        change_fake: Mean change of P(fake) of fakes.
        auc_before: AUC without protection.
        auc_after: AUC with protection.
        marked: Number of protected pictures in which the mark is read.
        marked_before: Number of pictures without protection in which a mark is read.
    """

    source: str
    way: str
    real: int
    fake: int
    changes: dict[str, int]
    change_real: Interval
    change_fake: Interval
    auc_before: Interval
    auc_after: Interval
    marked: int
    marked_before: int


@dataclass(frozen=True)
class Judged:
    """Judgement of one picture.

    Attributes:
        p_fake: Highest P(fake) of its faces, also of those with the mark.
        verdict: Verdict by that score.
        marked: Whether a face carries the mark.
    """

    p_fake: float
    verdict: str
    marked: bool


def verdicts(
    data: Annotated[str, typer.Option(metavar="[LAYOUT:]PATH", help="Labelled pictures that nothing was trained on.")],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="File for the figures.")],
    model: Annotated[
        str, typer.Option(metavar="PROTECTOR", help="Protector: a name, a model file or the folder of a package.")
    ] = "unet",
    detector: Annotated[
        str, typer.Option(metavar="DETECTOR", help="Detector with trained weights that judges, see dfbench list.")
    ] = "lite",
    count: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest number of pictures of each source and class.")
    ] = 1000,
    epsilon: Annotated[
        float, typer.Option(metavar="CHANGE", help="Bound of the change, in units of the pixel range.")
    ] = EPSILON,
) -> None:
    """Measure what protection does to the verdicts of a detector, as the pictures are and after degradations.

    Examples:
        python -m deepfake_unet.verdicts --data my-pictures/ --out verdicts.json
    """
    protector, judge = load(model, device="cpu"), load(detector, device="cpu")
    rows = [
        (sample, {way: (judged(judge, change(before)), judged(judge, change(after))) for way, change in WAYS.items()})
        for sample, before, after in protected_pictures(protector, data, count, epsilon)
    ]
    rows = [(sample, ways) for sample, ways in rows if all(one and other for one, other in ways.values())]
    found = {
        "model": f"{protector.manifest.name} {protector.manifest.version}",
        "detector": f"{judge.manifest.name} {judge.manifest.version}",
        "epsilon": epsilon,
        "sources": [
            asdict(record)
            for source in sorted({sample.source for sample, _ in rows})
            for record in records(source, [row for row in rows if row[0].source == source])
        ],
    }
    write_atomic(out, json.dumps(found, indent=2) + "\n")
    typer.echo(f"wrote {out}")


def protected_pictures(
    protector: LoadedDetector, data: str, count: int, epsilon: float
) -> Iterator[tuple[Sample, Images, Images]]:
    """Yield pictures in which a face is found, uint8 [H, W, 3] RGB, as they are and protected."""
    dataset = open_dataset(data)
    classes: dict[tuple[str, int], list[Sample]] = {}
    for sample in dataset:
        if not is_video(dataset.read(sample)):
            classes.setdefault((sample.source, sample.is_fake), []).append(sample)
    chosen = [
        members[row]
        for members in classes.values()
        for row in np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)
    ]
    for sample in track(chosen, "protecting"):
        pixels = decode(dataset.read(sample)).pixels
        prepared = protector.prepare(pixels)
        if prepared.faces:
            boxes = [face.box for face in prepared.faces]
            change = change_of(load_protector(protector), protector, pixels, boxes, prepared.crops, epsilon)
            yield sample, pixels, bounded(pixels, np.round(255 * change).astype(np.int16), epsilon)


def judged(judge: LoadedDetector, pixels: Images) -> Judged | None:
    """Judge a picture uint8 [H, W, 3] RGB as if nothing marked protected faces; ``None`` without a face."""
    result = judge.predict(np.ascontiguousarray(pixels))
    if not result.faces:
        return None
    p_fake = max(face.p_fake for face in result.faces)
    marked = any(face.protected for face in result.faces)
    return Judged(p_fake, judge.manifest.calibration.verdict(p_fake), marked)


def records(source: str, rows: list[tuple[Sample, dict[str, tuple[Any, Any]]]]) -> Iterator[Record]:
    """Yield the record of one source for each degradation.

    Args:
        source: Name of the source.
        rows: For each picture, the judgements before and after protection by degradation.
    """
    labels = np.array([int(sample.is_fake) for sample, _ in rows])
    for way in WAYS:
        before, after = zip(*(ways[way] for _, ways in rows), strict=True)
        scores = [np.array([one.p_fake for one in side]) for side in (before, after)]
        changes = Counter(
            f"{'fake' if label else 'real'}: {one.verdict} > {other.verdict}"
            for label, one, other in zip(labels, before, after, strict=True)
        )
        change = scores[1] - scores[0]
        real, fake = (
            _interval(np.zeros_like(labels[labels == label]), change[labels == label], _mean) for label in (0, 1)
        )
        auc_before, auc_after = (
            _interval(labels, score, roc_auc) if len(set(labels)) == 2 else _UNDEFINED for score in scores
        )
        yield Record(
            source=source,
            way=way,
            real=int((labels == 0).sum()),
            fake=int((labels == 1).sum()),
            changes=dict(sorted(changes.items())),
            change_real=real,
            change_fake=fake,
            auc_before=auc_before,
            auc_after=auc_after,
            marked=sum(one.marked for one in after),
            marked_before=sum(one.marked for one in before),
        )


_UNDEFINED = Interval(None, None, None)


def _mean(_labels: NDArray[Any], values: NDArray[Any]) -> float:
    return float(np.mean(values))


def _interval(labels: NDArray[Any], values: NDArray[np.float64], measure: Callable[..., float]) -> Interval:
    if not len(values):
        return _UNDEFINED
    rows = np.arange(len(values))
    return Interval(measure(labels, values), *grouped_bootstrap(labels, values, rows, measure, rate=measure is roc_auc))


if __name__ == "__main__":
    run(verdicts)
