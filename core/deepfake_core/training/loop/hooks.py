"""What the training loop calls: the files that it writes to, and the functions that observe or change a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from deepfake_core.training.data.augment import Augment


class Stopped(Exception):
    """Raised by ``on_validation`` to end a run early; the best weights so far are kept."""


class Files(Protocol):
    """Files of a run; :class:`~deepfake_core.training.runs.rundir.RunDir` implements it."""

    @property
    def last(self) -> Path:
        """File of the resume state."""

    @property
    def best(self) -> Path:
        """File of the weights of the best validation."""

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the metrics of every validation so far, one row each."""

    def record_images(self, first: Sequence[str], unreadable: Sequence[str]) -> None:
        """Record the first training images and the files that could not be read."""


@dataclass(frozen=True)
class Hooks:
    """Functions that observe or change a run.

    Attributes:
        on_validation: Called with the step and the metrics of each validation; it may raise :class:`Stopped`.
        log: Called with the step and named values, for trackers.
        flush: Called before each checkpoint is written, so that a killed process loses no logged value of an earlier
            step.
        augment: Augmentation on the device; ``None`` for none.
        targets: Called with each batch on the device; returns its targets float32 [N] in [0, 1]. ``None``: the labels.
    """

    on_validation: Callable[[int, dict[str, float]], None] = lambda _step, _metrics: None
    log: Callable[[int, Mapping[str, float]], None] = lambda _step, _values: None
    flush: Callable[[], None] = lambda: None
    augment: Augment | None = None
    targets: Callable[[Mapping[str, Tensor]], Tensor] | None = None
