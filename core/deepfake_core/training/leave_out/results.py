"""What leaving out each source in turn has given: the records, their means, and the files that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.discovery.plugins import import_object
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.runs.files import first_line, read_json
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import Frozen

Record = TypeVar("Record", bound=Frozen)

RESULT, OF_SOURCE, SCORES = "leave_one_out.json", "left_out.json", "left_out_scores.npz"
"""Names of the file of all results, and of a run's two files: its own result, and the score of every face."""

Measure = Literal["auc", "found", "called_fake", "false_fake"]
MEASURES: dict[Measure, str] = {
    "auc": "AUC of the fakes of a source that was left out",
    "found": "share of them at or above the threshold",
    "called_fake": "share of them with the verdict fake",
    "false_fake": "share of the real faces of a source that was left out with the verdict fake",
}
"""Each measure, in words. ``false_fake`` is better when it is lower, the others when they are higher."""

_TAKEN = {"best", "cache"}
"""Names in the folder of the runs that no run may have."""


class Measured(Frozen):
    """A figure in [0, 1] with its 95 % interval, which is ``None`` where there are fewer than two groups."""

    value: float
    low: float | None = None
    high: float | None = None


class LeftOut(Frozen):
    """What a model makes of a source that was left out of its training and of its validation.

    Attributes:
        source: Name of the source.
        run: Name of the run's folder.
        real: Number of real faces of the source that were judged.
        fake: Number of its fakes that were judged.
        groups: Number of groups that they belong to.
        total: Number of faces of the source, of which at most the wanted number is judged.
        against: Sources whose real faces the AUC compares with: the source itself; or, where it has none, others, whose
            held-out real faces count with equal weights. Empty where the source has no fakes.
        auc: Area under the ROC curve; ``None`` where the source has no fakes.
        found: Share of the fakes whose P(fake) reaches the threshold.
        called_fake: Share of the fakes with the verdict ``fake``, beyond the abstention band.
        false_fake: Share of the real faces with the verdict ``fake``; ``None`` where the source has none.
        validation_auc: AUC on the validation of the run, which has other sources.
        steps: Optimiser steps of the run.
        seconds: Time that the training took, in s.
        warnings: What limits the figures, in sentences.
    """

    source: str
    run: str
    real: int = Field(ge=0)
    fake: int = Field(ge=0)
    groups: int = Field(ge=0)
    total: int = Field(ge=0)
    against: tuple[str, ...] = ()
    auc: Measured | None = None
    found: Measured | None = None
    called_fake: Measured | None = None
    false_fake: Measured | None = None
    validation_auc: float | None = None
    steps: int | None = None
    seconds: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """The figures in one line."""
        figures = ((name, getattr(self, name)) for name in MEASURES)
        parts = [
            f"{'AUC' if name == 'auc' else name.replace('_', ' ')} {figure.value:{'.3f' if name == 'auc' else '.1%'}}"
            for name, figure in figures
            if figure is not None
        ]
        return f"{self.source}: {', '.join(parts)}"

    @property
    def order(self) -> tuple[bool, float]:
        """Sort key: sources with fakes first, the lowest AUC at the top; then those with the most false alarms."""
        if self.auc is not None:
            return False, self.auc.value
        return True, -self.false_fake.value if self.false_fake else 0.0


class Skipped(Frozen):
    """A source that was not left out, with the reason."""

    source: str
    reason: str


class Mean(Frozen):
    """The mean of a measure over the sources that have it, and the worst of them."""

    mean: float
    worst: float
    worst_source: str
    sources: tuple[str, ...]


class LeaveOneOut(Frozen):
    """Results of leaving out each source of a dataset in turn.

    Attributes:
        detector: Name of the detector's plugin.
        config: Hyper-parameters of the detector.
        recipe: Recipe of every run, with what it leaves out in all of them.
        data: Training data as the user named them.
        content: Hexadecimal SHA-256 over the prepared data.
        faces: Largest number of faces of a source that are judged.
        start: Name and version of the model whose weights every run started from; ``None`` for the initial weights.
        sources: Results, the worst first: by the AUC of the fakes, then by the false alarms on sources of real faces.
        skipped: Sources that could not be left out.
        missing: Sources whose runs are not complete.
        means: Mean of each measure.
    """

    schema_version: Literal[1] = 1
    detector: str
    config: dict[str, Any] = {}
    recipe: TrainRecipe
    data: str
    content: str
    faces: int = Field(gt=0)
    start: str | None = None
    sources: tuple[LeftOut, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    missing: tuple[str, ...] = ()
    means: dict[Measure, Mean] = {}

    def with_results(
        self, sources: Iterable[LeftOut], skipped: Iterable[Skipped] = (), missing: Iterable[str] = ()
    ) -> Self:
        """Return the same with these results, in their order and with their means."""
        ordered = tuple(sorted(sources, key=lambda row: row.order))
        return self.model_copy(
            update={
                "sources": ordered,
                "skipped": tuple(skipped),
                "missing": tuple(missing),
                "means": {name: mean for name in MEASURES if (mean := _mean(ordered, name))},
            }
        )

    @property
    def complete(self) -> bool:
        """Whether every source was left out that was asked for."""
        return not self.skipped and not self.missing

    def misses(self, *, auc: float | None = None, false_fake: float | None = None) -> tuple[str, ...]:
        """Return a sentence for each bound that is missed.

        Args:
            auc: Lowest mean AUC that is allowed.
            false_fake: Highest share of false alarms that is allowed on the worst source of real faces.
        """
        said = []
        for name, bound in (("auc", auc), ("false_fake", false_fake)):
            found = self.means.get(name)  # type: ignore[call-overload]
            if bound is None:
                continue
            if found is None:
                said.append(f"no source that was left out has a figure for: {MEASURES[name]}")  # type: ignore[index]
            elif name == "auc" and found.mean < bound:
                said.append(f"the mean AUC of {len(found.sources)} sources is {found.mean:.3f}, below {bound:g}")
            elif name == "false_fake" and found.worst > bound:
                said.append(
                    f"{found.worst:.1%} of the real faces of {found.worst_source} are called fake, above {bound:.1%}"
                )
        return tuple(said)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return self.model_dump(mode="json")

    def short(self) -> dict[str, Any]:
        """Return what a package keeps in its ``metrics``: the figures, and the ``minutes`` or ``steps`` of the runs."""
        kept = {"detector", "data", "faces", "means", "sources", "skipped", "start"}
        minutes = sum(phase.minutes or 0.0 for phase in self.recipe.phases)
        steps = [row.steps for row in self.sources if row.steps is not None]
        length = {"minutes": minutes} if minutes else {"steps": int(median(steps))} if steps else {}
        return {**self.model_dump(mode="json", include=kept), **length}

    def plot(self, path: str | Path) -> None:
        """Draw the figures as a PNG file; see :func:`~deepfake_core.training.leave_out.picture.draw`."""
        import_object("deepfake_core.training.leave_out.picture:draw")(self, Path(path))


def _mean(rows: Iterable[LeftOut], name: Measure) -> Mean | None:
    found = {row.source: figure.value for row in rows if (figure := getattr(row, name)) is not None}
    if not found:
        return None
    worst = (max if name == "false_fake" else min)(found, key=lambda source: found[source])
    return Mean(
        mean=sum(found.values()) / len(found), worst=found[worst], worst_source=worst, sources=tuple(sorted(found))
    )


def folder_of(source: str) -> str:
    """Return the name of the folder for the run without a source, which is the source's where files may be called so.

    Examples:
        >>> folder_of("lfw")
        'lfw'
        >>> folder_of("ff/Deepfakes")
        'ff-Deepfakes-3b1f2c'
    """
    plain = re.sub(r"[^\w.-]+", "-", source).strip(".-")
    if plain == source and source not in _TAKEN:
        return source
    return f"{plain}-{sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}".lstrip("-")


def read_results(folder: str | Path) -> LeaveOneOut:
    """Read the results in the folder of the runs, as far as they are.

    Raises:
        DeepfakeError: The folder holds none, or its file is damaged.
    """
    file = Path(folder) / RESULT
    found = read_json(file)
    if not found:
        raise DeepfakeError(
            f"{folder}: holds no results (no {RESULT}); make them: dfbench leave-one-out DETECTOR --data … "
            f"--run-dir {folder}"
        )
    return _validated(LeaveOneOut, found, file)


def read_source(folder: Path) -> LeftOut | None:
    """Read the result in the folder of one run; ``None`` where there is none yet.

    Raises:
        DeepfakeError: The file is damaged.
    """
    found = read_json(folder / OF_SOURCE)
    return _validated(LeftOut, found, folder / OF_SOURCE) if found else None


def write(record: Frozen, file: Path) -> None:
    """Write a record as JSON."""
    write_atomic(file, record.model_dump_json(indent=2) + "\n")


def _validated(kind: type[Record], found: Mapping[str, Any], file: Path) -> Record:
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise DeepfakeError(
            f"{file}: written by another version ({first_line(error)}); remove it, and measure again"
        ) from error
