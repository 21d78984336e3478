"""Phases that end by the clock: how many steps are left, when to validate, and the moments that users name."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from types import SimpleNamespace

import pytest

from deepfake_core.contract.recipe import Phase, Schedule, TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.budget import Budget, limited
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.deadline import seconds_until
from deepfake_core.training.recipes.schedule import momentum, rate
from deepfake_core.training.recipes.stages import plan, small_steps


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def nothing_spent():
    return SimpleNamespace(step=0, share=0.0, phase_seconds=0.0, seconds=0.0, closing_seconds=None, by_clock=False)


def stages(*phases, steps_per_epoch=10):
    return plan(TrainRecipe(phases=phases), steps_per_epoch)


class Run:
    """Steps and validations of a phase by a clock that no machine has an influence on."""

    def __init__(self, stage, *, step_s=1.0, closing_s=0.0, closings=0.0, spent=None, agree=None, first=0, every=10**9):
        self.clock, self.spent = Clock(), spent or nothing_spent()
        self.step_s, self.closing_s, self.every = step_s, closing_s, every
        self.budget = Budget(stage, first, self.spent, every=every, closings=closings, clock=self.clock, agree=agree)
        self.places, self.times, self.validated = [], [], []

    def step(self):
        place, length = self.budget.place
        self.places.append(place / length)
        self.times.append(self.spent.phase_seconds)
        self.clock.now += self.step_s(self.spent.step) if callable(self.step_s) else self.step_s
        self.spent.step += 1
        self.budget.stepped()
        if self.budget.validates(self.spent.step % self.every == 0):
            self.validated.append(self.spent.step)
            self.clock.now += self.closing_s
            self.budget.validated()
            self.budget.saved()

    def to_the_end(self):
        while not self.budget.over:
            self.step()
        return self


def test_the_schedule_follows_the_time_that_has_passed():
    run = Run(stages(Phase(minutes=10))[0]).to_the_end()
    assert run.spent.step == pytest.approx(600, abs=3)
    assert run.places[300] == pytest.approx(0.5, abs=0.01)
    assert run.places[-1] == pytest.approx(1.0, abs=0.01)
    assert run.places == sorted(run.places)
    assert run.spent.by_clock


def test_slow_first_steps_use_no_part_of_the_schedule():
    run = Run(stages(Phase(minutes=10))[0], step_s=lambda step: 60.0 if step < 2 else 1.0)
    for _ in range(5):
        run.step()
    assert run.places[-1] < 0.01
    assert run.to_the_end().places[-1] > 0.99


def test_validations_and_a_change_of_pace_make_no_jump():
    run = Run(stages(Phase(minutes=10))[0], step_s=lambda step: 0.5 if step < 400 else 1.0, closing_s=30.0, every=100)
    run.to_the_end()
    jumps = [after - before for before, after in pairwise(run.places)]
    assert max(jumps) < 0.01
    assert run.places[-1] > 0.99
    half = sum(place < 0.5 for place in run.places)
    assert run.times[half] == pytest.approx(300, abs=60)  # as far as the coming change of pace lets it be known


def test_a_compilation_within_a_phase_makes_no_jump():
    run = Run(stages(Phase(minutes=30))[0], step_s=lambda step: 120.0 if step == 50 else 0.2)
    run.to_the_end()
    jumps = [after - before for before, after in pairwise(run.places)]
    assert max(jumps) < 0.001
    assert run.places[-1] > 0.99


@pytest.mark.parametrize("closing_s", [0.0, 5.0, 60.0, 200.0])
@pytest.mark.parametrize("every", [50, 10**9])
def test_the_last_validation_and_the_package_are_inside(closing_s, every):
    run = Run(stages(Phase(minutes=20))[0], closing_s=closing_s, closings=2.0, every=every).to_the_end()
    assert run.validated[-1] == run.spent.step
    packaged = run.clock.now - 1000.0 + closing_s  # the package takes as long as a validation
    assert 1190 - 0.3 * closing_s <= packaged <= 1200


def test_the_first_validation_comes_early_so_that_its_time_is_known():
    run = Run(stages(Phase(minutes=10))[0], closing_s=20.0, closings=1.0).to_the_end()
    assert run.validated[0] == 60
    assert len(run.validated) == 2


def test_a_validation_that_is_soon_followed_by_the_last_one_is_put_off():
    run = Run(stages(Phase(minutes=10))[0], closing_s=100.0, closings=1.0, every=125).to_the_end()
    assert run.validated[:2] == [60, 125]
    assert len(run.validated) == 3
    assert run.validated[2] > 250


def test_a_validation_that_takes_longer_than_the_time_is_the_only_one():
    run = Run(stages(Phase(minutes=1))[0], closing_s=300.0, closings=2.0).to_the_end()
    assert run.validated == [6]
    assert run.budget.over


def test_a_few_long_steps_do_not_go_beyond_the_time():
    run = Run(stages(Phase(minutes=2))[0], step_s=50.0, closing_s=10.0, closings=1.0).to_the_end()
    assert run.spent.step == 1  # after it 59 s are left, of which 11 are kept free
    run = Run(stages(Phase(minutes=2))[0], step_s=lambda step: 1.0 if step < 50 else 10.0, closing_s=10.0, closings=1.0)
    for _ in range(50):
        run.step()
    run.budget.restarted()
    assert run.to_the_end().clock.now - 1000.0 <= 121


def test_the_last_step_may_be_a_slow_one():
    run = Run(
        stages(Phase(minutes=4))[0], step_s=lambda step: 5.0 if step % 7 == 3 else 2.0, closing_s=10.0, closings=2.0
    )
    assert 230 <= run.to_the_end().clock.now - 1000.0 + 10.0 <= 240


def test_a_phase_takes_one_step_at_least():
    run = Run(stages(Phase(minutes=0.001))[0], closings=1.0).to_the_end()
    assert run.validated == [1]


def test_time_before_an_interruption_counts_and_the_pause_does_not():
    (stage,) = stages(Phase(minutes=10))
    run = Run(stage)
    for _ in range(300):
        run.step()
    resumed = Run(stage, spent=run.spent).to_the_end()  # another process, at any later time, with a clock of its own
    assert resumed.places[0] == pytest.approx(0.5, abs=0.01)
    assert run.spent.step == pytest.approx(600, abs=5)
    assert run.spent.phase_seconds <= 600


def test_steps_alone_need_no_clock():
    run = Run(stages(Phase(epochs=2))[0], closings=1.0).to_the_end()
    assert run.places == [step / 20 for step in range(20)]
    assert run.validated == [20]
    assert not run.spent.by_clock


def test_a_recipe_of_steps_is_compressed_to_the_time_until_the_run_has_to_end():
    phases = stages(Phase(epochs=30), Phase(epochs=50))  # 800 steps of 1 s
    spent, run_seconds = nothing_spent(), 400.0
    head = Run(limited(phases[0], phases[1:], spent, run_seconds), spent=spent).to_the_end()
    assert spent.step == pytest.approx(150, abs=3)
    assert head.places[-1] > 0.98
    first, spent.share, spent.phase_seconds = spent.step, 0.0, 0.0
    rest = limited(phases[1], (), spent, run_seconds - (head.clock.now - 1000.0))
    tune = Run(rest, spent=spent, first=first, closing_s=20.0, closings=2.0).to_the_end()
    assert tune.places[-1] > 0.98
    assert head.clock.now + tune.clock.now - 2000.0 + 20.0 <= run_seconds


def test_a_run_that_was_compressed_goes_on_without_a_jump_when_it_has_time_again():
    (stage,) = stages(Phase(epochs=100))
    run = Run(limited(stage, (), nothing_spent(), 500.0))
    for _ in range(400):
        run.step()
    rest = Run(stage, spent=run.spent).to_the_end()
    assert (run.places[-1], rest.places[0]) == pytest.approx((0.8, 0.8), abs=0.01)
    assert max(after - before for before, after in pairwise(rest.places)) < 0.001
    assert run.spent.step == 1000


def test_a_recipe_of_steps_that_ends_in_time_is_as_long_as_it_says():
    (stage,) = stages(Phase(epochs=10))
    run = Run(limited(stage, (), nothing_spent(), 1000.0), closing_s=10.0, closings=2.0, every=50).to_the_end()
    assert run.spent.step == 100
    assert run.places == pytest.approx([step / 100 for step in range(100)])


def test_phases_of_both_kinds_divide_the_time_evenly_until_it_is_known():
    phases = stages(Phase(minutes=1), Phase(steps=7))
    assert [stage.share for stage in phases] == [0.5, 0.5]
    assert limited(phases[0], phases[1:], nothing_spent(), 600.0).seconds == 60.0
    assert limited(phases[1], (), nothing_spent(), 540.0).seconds == 540.0


def test_processes_follow_the_first_one():
    said = []

    def first(numbers):
        said.append(list(numbers))
        return numbers

    leader = Run(stages(Phase(minutes=2))[0], step_s=0.1, closing_s=3.0, closings=1.0, agree=first, every=300)
    leader.to_the_end()
    words = iter(said)
    follower = Run(
        stages(Phase(minutes=2))[0], step_s=0.17, closing_s=1.0, closings=1.0, agree=lambda _: next(words), every=300
    )
    follower.to_the_end()
    assert (follower.spent.step, follower.validated) == (leader.spent.step, leader.validated)
    assert follower.places == leader.places
    assert len(said) < leader.spent.step / 10  # processes do not wait for each other at each step
    assert next(words, None) is None


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "constant", "plateau"])
def test_every_schedule_takes_places_between_steps(name):
    phase = Phase(minutes=1, schedule=Schedule(name=name, warmup=0.1))
    rates = [rate(phase, place / 7, 100) for place in range(701)]
    assert max(rates) <= 1.0
    assert max(abs(after - before) for before, after in pairwise(rates)) < 0.03
    assert rates[-1] == pytest.approx(1.0 if name in ("constant", "plateau") else 0.0, abs=1e-3)
    assert (momentum(phase, 33.3, 100) is not None) == (name == "one_cycle")


def test_small_inputs_end_by_the_share_of_the_steps_or_later_by_the_clock():
    recipe = TrainRecipe(phases=(Phase(epochs=3), Phase(steps=10)))
    halved = recipe.model_copy(update={"pairs": recipe.pairs.model_copy(update={"small_until": 0.5})})
    assert small_steps(recipe, 10) == 0
    assert small_steps(halved, 10) == 20
    assert small_steps(halved.model_copy(update={"phases": (Phase(minutes=1),)}), 10) == float("inf")


def test_a_phase_has_one_length():
    recipe = changed(TrainRecipe(), ["phases.0.minutes=30"])
    assert (recipe.phases[0].epochs, recipe.phases[0].steps, recipe.phases[0].minutes) == (None, None, 30.0)
    assert changed(recipe, ["phases.0.steps=5"]).phases[0].minutes is None
    assert [phase.steps for phase in recipe.smoke().phases] == [3]
    for wrong in ("0", "-1", ".nan", ".inf"):
        with pytest.raises(DeepfakeError, match=r"^--set: phases\.0\.minutes: .*"):
            changed(TrainRecipe(), [f"phases.0.minutes={wrong}"])
    with pytest.raises(ValueError, match="either epochs or steps or minutes"):
        Phase(epochs=1, minutes=1)


NOW = datetime(2026, 3, 1, 18, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stop_at", "expected"),
    [
        ("2026-03-01T20:30+00:00", 2.25 * 3600),
        ("2026-03-01T20:30+02:00", 0.25 * 3600),
        (datetime(2026, 3, 1, 19, 15, tzinfo=timezone(timedelta(hours=1))), None),
        (datetime(2026, 3, 2, 18, 15, tzinfo=UTC), 24 * 3600),
        ("2025-03-01 20:30", None),
        ("noon", None),
        ("24:30", None),
        ("", None),
        ("2026-03-01", None),
        ("2026-02-30T10:00", None),
    ],
)
def test_the_moment_at_which_a_run_has_to_end(stop_at, expected):
    if expected is None:
        with pytest.raises(DeepfakeError, match=r"(--stop-at|has to end by) .*(in the past|20:30)"):
            seconds_until(stop_at, None, NOW)
    else:
        assert seconds_until(stop_at, None, NOW) == expected


def test_a_time_of_the_day_is_the_next_one():
    local = NOW.astimezone()
    before, after = (local + timedelta(minutes=15 * step) for step in (-1, 1))
    assert seconds_until(f"{after:%H:%M}", None, NOW) == 900
    tomorrow = datetime.combine((before + timedelta(days=1)).date(), before.time().replace(second=0)).astimezone()
    assert seconds_until(f"{before:%H:%M}", None, NOW) == (tomorrow - local).total_seconds()


@pytest.mark.parametrize("minutes", [0.0, -3.0, float("nan"), float("inf")])
def test_minutes_are_a_number_above_nothing(minutes):
    with pytest.raises(DeepfakeError, match=r"--minutes .*above 0"):
        seconds_until(None, minutes)
    assert seconds_until(None, 1.5) == 90
    assert seconds_until(None, None) is None
    with pytest.raises(DeepfakeError, match="give one of them"):
        seconds_until("20:30", 5)
