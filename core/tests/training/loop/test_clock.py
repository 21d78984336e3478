"""Runs that end by the clock: inside their time, with a validation at the end, and the same after an interruption."""

import logging

import pytest
import torch
from tiny_run import RECIPE, Bright, Pixels, run, validate

from deepfake_core.contract.recipe import Pairs, Phase, Schedule
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.loop.hooks import Hooks, Stopped

pytestmark = pytest.mark.torch

COSINE = Schedule(name="cosine", warmup=0.1)


class Slow(Bright):
    """A detector whose steps take 5 s, and its validations 20 s, by a clock that nothing else moves."""

    def __init__(self):
        super().__init__()
        self.now = 100.0

    def clock(self):
        return self.now

    def loss(self, output, batch):
        self.now += 5
        return super().loss(output, batch)

    def check(self, model):
        self.now += 20
        return validate(model)


def timed(folder, recipe, detector=None, **options):
    detector = detector or Slow()
    progress, _ = run(folder, recipe, detector=detector, check=detector.check, clock=detector.clock, **options)
    return progress, detector


def changed(*phases, **settings):
    return RECIPE.model_copy(update={"phases": phases, "eval_every": None, **settings})


def test_the_rate_ends_with_the_time_and_the_last_step_is_validated(tmp_path):
    recipe = changed(Phase(minutes=5, lr=1e-2, schedule=COSINE))
    progress, detector = timed(tmp_path, recipe, after=1.0)
    assert detector.now - 100 + 20 <= 300  # the package takes as long as a validation
    assert detector.now - 100 + 20 > 280
    assert progress.seconds == progress.phase_seconds == detector.now - 100
    assert progress.history[-1]["step"] == progress.step
    assert progress.history[-1]["lr"] < 5e-4
    assert progress.by_clock
    assert progress.images == 8 * progress.step
    again, _ = timed(tmp_path, recipe)  # it has ended, and does not train on
    assert again == progress


def test_phases_have_units_of_their_own(tmp_path):
    head = Phase(name="head", minutes=1, lr={"head": 1e-2})
    tune = Phase(name="tune", steps=7, lr=1e-3)
    end = Phase(name="end", minutes=2, lr=1e-3)
    progress, _ = timed(tmp_path, changed(head, tune, end, eval_every=1000))
    assert progress.ends == [12, 19, 19 + (120 - 20 - 20 - 4) // 5]
    assert [row["step"] for row in progress.history] == [22, progress.step]


@pytest.mark.parametrize("stop", [2, 3])
def test_time_before_an_interruption_counts(tmp_path, stop):
    seen = []

    def interrupt(step, metrics):
        seen.append(step)
        if len(seen) == stop:
            raise Stopped("the machine goes away")

    recipe = changed(Phase(minutes=5, lr=1e-2, schedule=COSINE))
    before, _ = timed(tmp_path / "cut", recipe, hooks=Hooks(on_validation=interrupt))
    resumed, _ = timed(tmp_path / "cut", recipe)
    whole, _ = timed(tmp_path / "whole", recipe)
    assert before.step < resumed.step
    assert resumed.seconds <= 300
    assert abs(resumed.step - whole.step) <= 2
    assert resumed.history[-1]["lr"] < 1e-3


def test_a_recipe_of_epochs_is_compressed_to_the_time_that_is_left(tmp_path):
    recipe = changed(Phase(epochs=100, lr=1e-2, schedule=COSINE))  # 400 steps of 5 s
    progress, detector = timed(tmp_path, recipe, deadline=100.0 + 300, after=1.0)
    assert detector.now + 20 <= 400
    assert detector.now + 20 > 380
    assert progress.history[-1]["lr"] < 5e-4
    short = changed(Phase(epochs=3, lr=1e-2, schedule=COSINE))
    progress, _ = timed(tmp_path / "short", short, deadline=100.0 + 900)
    assert progress.step == 12


def test_no_time_is_one_line(tmp_path):
    with pytest.raises(DeepfakeError, match=r"^no time is left to train: .* in 0 s; .*--stop-at or --minutes"):
        timed(tmp_path, RECIPE, deadline=50.0)
    recipe = changed(Phase(epochs=5, lr=1e-2))

    def interrupt(step, metrics):
        raise Stopped("after the first validation")

    timed(tmp_path, recipe, hooks=Hooks(on_validation=interrupt))
    with pytest.raises(DeepfakeError, match=r"in 30 s, and the last validation and the package take 40 s; "):
        timed(tmp_path, recipe, deadline=130.0, after=1.0)


def test_small_inputs_become_large_when_their_share_of_the_time_has_passed(tmp_path, caplog):
    class Growing(Pixels):
        grown = ()

        def grow(self, key):
            self.grown = (*self.grown, key)

    data = Growing(32)
    recipe = changed(Phase(minutes=8, lr=1e-2), pairs=Pairs(small_until=0.5))
    with caplog.at_level(logging.INFO, "deepfake.training"):
        progress, _ = timed(tmp_path, recipe, data=data)
    (key,) = data.grown
    step = 4 * key[0] + list(data.order(key[0])).index(key[1]) // 8
    assert step == pytest.approx(progress.step / 2, abs=0.05 * progress.step)
    assert f"inputs have their full size from step {step} on" in caplog.text


def test_a_checkpoint_of_a_version_without_clocks_goes_on_in_its_phase(tmp_path):
    head, tune = (Phase(name=name, steps=6, lr=1e-2) for name in ("head", "tune"))

    def interrupt(step, metrics):
        if step == 8:
            raise Stopped("in the second phase")

    recipe = changed(head, tune, eval_every=4)
    before, files = run(tmp_path / "cut", recipe, hooks=Hooks(on_validation=interrupt))
    assert before.ends == [6]
    state = torch.load(files.last, weights_only=True)
    for name in ("ends", "images", "share", "phase_seconds", "seconds", "closing_seconds", "by_clock"):
        del state["progress"][name]
    torch.save(state, files.last)
    resumed, _ = run(tmp_path / "cut", recipe)
    whole, _ = run(tmp_path / "whole", recipe)
    assert resumed.history == whole.history
    assert resumed.ends == whole.ends == [6, 12]


def test_a_run_says_how_far_it_is(tmp_path, caplog):
    recipe = changed(Phase(minutes=5, lr=1e-2), eval_every=1000)
    with caplog.at_level(logging.INFO, "deepfake.training"):
        timed(tmp_path, recipe)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "phase all: from step 0, 5 min by the clock"
    lines = [line for line in said if line.startswith("step ") and "left" in line]
    assert lines[0].startswith("step 1: loss=")
    assert "1.6 images/s; 5 s used, about 295 s left" in lines[0].replace("5 min", "295 s")
    assert len(lines) == pytest.approx(280 / 30, abs=2)


def test_steps_are_taken_without_waiting_for_the_device(tmp_path, monkeypatch):
    """Between validations nothing is read from tensors, which would make the host wait for a GPU."""
    waits = []
    recipe = changed(Phase(steps=20, lr=1e-2), eval_every=1000, save_every=None)
    for name in ("item", "tolist", "__float__", "__bool__", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, noted(name, getattr(torch.Tensor, name), waits))

    def check(model):
        waits.append("validation")
        return {"auc": 0.5}

    run(tmp_path, recipe, check=check)
    before = waits[: waits.index("validation")]
    assert set(before) <= {"tolist", "__float__", "item"}
    assert before.count("tolist") <= 20  # marks of unreadable pictures, which lie on the host
    assert before.count("item") <= 1  # the seed of the loading processes
    assert before.count("__float__") <= 2  # the means of loss and gradient at the end


def noted(name, method, waits):
    def call(self, *args, **kwargs):
        waits.append(name)
        return method(self, *args, **kwargs)

    return call
