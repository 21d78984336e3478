"""How much of a phase is left, by its steps and by the clock: its place in the schedule, and when it ends."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from statistics import median
from typing import Protocol

from deepfake_core.training.recipes.stages import Stage

Clock = Callable[[], float]
"""Function that returns seconds since any moment; changes of the time of day have no influence on it."""

Agree = Callable[[list[float]], list[float]]
"""Function that returns in every process the numbers that the first process gives."""

FINE = 10_000
"""Length of the schedule of a phase that the clock alone ends; the schedules count in steps."""

FIRST_VALIDATION = 0.1
"""Share of the time of the last phase after which the first validation comes at the latest: then its time is known."""

SAFETY = 1.1
"""Factor on the time that a validation took, for the time that the last one may take."""

_WARM = 3
"""Steps after each start that are not timed: memory is allocated, kernels are compiled."""

_RECENT = 50
"""Number of steps whose mean time is expected of the next ones."""

_AGREED_S, _AGREED_STEPS = 2.0, 50
"""Time, and number of steps at most, for which other processes follow what the first one said."""


class Spent(Protocol):
    """What a run has used so far; :class:`~deepfake_core.training.loop.checkpoint.Progress` keeps it in checkpoints.

    Attributes:
        step: Number of optimiser steps taken.
        share: Share of the current phase that is done, from 0 to 1.
        phase_seconds: Time that the current phase has taken, without interruptions.
        seconds: Time that the run has taken, without interruptions.
        closing_seconds: Time of the last validation with its checkpoint; ``None`` before the first one.
        by_clock: Whether the clock had a say in the length of a phase.
    """

    step: int
    share: float
    phase_seconds: float
    seconds: float
    closing_seconds: float | None
    by_clock: bool


class Budget:
    """How much of one phase is left.

    A phase ends by its steps or when its time is used, whichever comes first, and takes one step at least. Where it has
    a time, each step advances it by an equal part of the steps that are still to be expected: its schedule comes to its
    end with the last step, and neither validations nor steps that become slower or faster make it jump.

    Of several processes the first one looks at the clock, and says now and then how many steps are left.

    Args:
        stage: The phase.
        first: Number of its first step.
        spent: What the run has used so far; the budget keeps it up to date.
        every: Number of steps between validations.
        closings: Time to keep free at its end, in times of a validation with its checkpoint; 0 where the phase does not
            end with a validation.
        clock: The clock.
        agree: Function that returns the numbers of the first process; ``None`` in a process that is alone.
    """

    def __init__(
        self,
        stage: Stage,
        first: int,
        spent: Spent,
        *,
        every: int,
        closings: float = 0.0,
        clock: Clock = time.monotonic,
        agree: Agree | None = None,
    ) -> None:
        self.stage, self.first, self.spent = stage, first, spent
        self.every, self.closings, self.clock, self.agree = every, closings, clock, agree
        spent.by_clock = spent.by_clock or stage.seconds is not None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._mark, self._last, self._validation, self._saving = clock(), 0.0, 0.0, 0.0
        self.restarted()
        self._look()

    @property
    def place(self) -> tuple[float, int]:
        """The place in the schedule, and the length of the schedule."""
        if not self.spent.by_clock and self.stage.steps is not None:  # exact, so that the run can be repeated
            return self.spent.step - self.first, self.stage.steps
        length = self.stage.steps or FINE
        return self.spent.share * length, length

    @property
    def over(self) -> bool:
        """Whether no further step fits."""
        return self._left < 1 and self.spent.step > self.first

    def validates(self, due: bool) -> bool:
        """Return whether the step that was taken is validated.

        Args:
            due: Whether the recipe wants it. It is put off to the end of the phase where that comes soon.
        """
        return self._early or (due and not self._late) or (self.over and self.closings > 0)

    def left_seconds(self, later: Sequence[Stage] = ()) -> float:
        """Return the time that is expected for the rest of the phase, and for later ones."""
        each = self.spent.phase_seconds / max(1, self.spent.step - self.first)  # validations included
        left = self._left * each
        if self.stage.seconds is not None:
            left = min(left, self.stage.seconds - self.spent.phase_seconds)
        return max(0.0, left) + sum(s.seconds if s.seconds is not None else (s.steps or 0) * each for s in later)

    def stepped(self) -> None:
        """Take note of a step that was taken."""
        self._last = took = self._spend()
        if self._warm:
            self._warm -= 1
        else:
            self._recent.append(took)
        self.spent.share += (1 - self.spent.share) / max(1.0, self._expected)
        self._left -= 1
        self._expected -= 1
        self._silent -= 1
        if self._silent <= 0:
            self._look()

    def validated(self) -> None:
        """Take note of a validation, which may leave no time for a further step."""
        self._validation = self._spend()
        self.spent.closing_seconds = self._validation + self._saving
        self._look()

    def saved(self) -> None:
        """Take note of a checkpoint."""
        self._saving = self._spend()
        if self._validation:
            self.spent.closing_seconds = self._validation + self._saving
            self._validation = 0.0

    def restarted(self) -> None:
        """Take note of steps that will take another time than those before, such as the first ones."""
        self._warm = _WARM
        self._recent.clear()

    def _spend(self) -> float:
        now = self.clock()
        took, self._mark = now - self._mark, now
        self.spent.phase_seconds += took
        self.spent.seconds += took
        return took

    def _look(self) -> None:
        """Find out how many steps are left, counted from now."""
        steps = math.inf if self.stage.steps is None else float(self.first + self.stage.steps - self.spent.step)
        self._left, self._expected, self._early, self._late, self._silent = steps, steps, False, False, 1
        if self.stage.seconds is None:
            return
        closing = SAFETY * (self.spent.closing_seconds or 0.0)
        free = self.stage.seconds - self.spent.phase_seconds - self.closings * closing
        each, slowest = _usual(self._recent)
        pace = each or self._last  # whether a further step fits must be known from the first one on
        free -= slowest - each  # the last step may be the slowest
        left = free / pace if pace > 0 else math.inf if free > 0 else 0.0
        unknown = self.closings > 0 and self.spent.closing_seconds is None
        early = unknown and self.spent.phase_seconds >= FIRST_VALIDATION * self.stage.seconds
        late = free < 2 * closing
        expected = left if late else free / (each + closing / self.every) if each > 0 else math.inf
        silent = min(_AGREED_STEPS, max(1, int(_AGREED_S / each))) if each > 0 else 1
        said = [min(steps, left), min(steps, expected), float(early), float(late), float(silent)]
        if self.agree is not None:
            said = self.agree(said)
            self._silent = int(said[4])
        self._left, self._expected, self._early, self._late = said[0], said[1], bool(said[2]), bool(said[3])


def limited(stage: Stage, later: Sequence[Stage], spent: Spent, run_seconds: float | None) -> Stage:
    """Return a phase with the time, counted from its begin, that it may take at most.

    Args:
        stage: The phase.
        later: The phases after it.
        spent: What the run has used so far.
        run_seconds: Time until the run has to end, which the phases divide as their lengths are; ``None`` where the
            recipe alone decides.
    """
    if run_seconds is None:
        return stage
    own = stage.share * (1 - spent.share)
    rest = own + sum(other.share for other in later)
    part = spent.phase_seconds + (run_seconds * own / rest if rest > 0 else 0.0)
    return replace(stage, seconds=part if stage.seconds is None else min(part, stage.seconds))


def _usual(times: Collection[float]) -> tuple[float, float]:
    """Return the mean and the greatest of times; a single long one, such as that of a compilation, counts as five."""
    if not times:
        return 0.0, 0.0
    most = 5 * median(times)
    capped = [min(time, most) for time in times]
    return sum(capped) / len(capped), max(capped)
