"""Samples come to the device in their order, one step ahead on a GPU, and nothing is left running."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from tiny_run import RECIPE, Pixels

from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.batches import Batches, Part
from deepfake_core.training.loop.accelerator import make_accelerator
from deepfake_core.training.loop.feed import Ready

pytestmark = pytest.mark.torch


class Told:
    """A feed that writes down what happens to it."""

    def __init__(self, events, fails_at=None):
        self.events, self.fails_at = events, fails_at

    def from_step(self, start, stop=None):
        try:
            step = start
            while stop is None or step < stop:
                if step == self.fails_at:
                    raise TrainingDataError("face7.png cannot be read")
                self.events.append(f"make {step}")
                yield [Part([], {"images": torch.full((2, 1, 4, 4, 3), step, dtype=torch.uint8)})]
                step += 1
        finally:
            self.events.append("closed")


def test_on_a_cpu_samples_are_made_when_they_are_asked_for():
    events = []
    steps = Ready(Told(events), make_accelerator("cpu"), 1).from_step(3)
    assert events == []
    for step in (3, 4):
        (part,) = next(steps)
        assert part.tensors["images"].unique() == step
        assert events[-1] == f"make {step}"
    steps.close()
    assert events == ["make 3", "make 4", "closed"]


def test_an_error_of_the_samples_comes_after_the_steps_before_it():
    events = []
    steps = Ready(Told(events, fails_at=2), make_accelerator("cpu"), 1).from_step(0, 5)
    assert len([next(steps), next(steps)]) == 2
    with pytest.raises(TrainingDataError, match="face7"):
        next(steps)
    assert events[-1] == "closed"


def test_what_is_augmented_follows_from_step_pass_and_place():
    seen = []

    def augment(images, step, places):
        seen.append((step, places.tolist()))
        return images + 1

    accelerator = SimpleNamespace(device=torch.device("cpu"), process_index=1, num_processes=2)
    (parts,) = Ready(Told([]), accelerator, 3, augment).from_step(5, 6)
    assert seen == [(16, [1, 3])]
    assert parts[0].tensors["images"].shape == (2, 1, 4, 4, 3)
    assert parts[0].tensors["images"].unique() == 6


def test_batches_without_an_end_are_those_with_one():
    batches = Batches(Pixels(10), RECIPE, make_accelerator("cpu"))
    endless = batches.from_step(1)
    for parts in batches.from_step(1, 5):
        for ours, theirs in zip(parts, next(endless), strict=True):
            assert ours.keys == theirs.keys
            assert torch.equal(ours.tensors["images"], theirs.tensors["images"])
    endless.close()


def test_on_a_gpu_one_step_is_made_while_the_one_before_is_computed(monkeypatch):
    """The streams are played by objects that write down what they are told."""
    events = []

    def stream(name):
        return SimpleNamespace(
            name=name,
            wait_stream=lambda other: events.append(f"{name} waits for {other.name}"),
            wait_event=lambda event: events.append(f"{name} waits for {event}"),
            record_event=lambda: events.append(f"{name} marks") or f"mark {events.count(f'{name} marks')}",
        )

    main, side = stream("main"), stream("side")
    current = [main]

    @contextmanager
    def on(chosen):
        current.append(chosen)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[-1])
    monkeypatch.setattr(Ready, "_on_device", lambda self, part, step, number: part)
    ready = Ready(Told(events), SimpleNamespace(device=torch.device("cuda")), 1)
    for step, _parts in enumerate(ready.from_step(0, 3)):
        events.append(f"compute {step}")
    assert events == [
        "side waits for main",
        *("make 0", "main marks", "main waits for side", "compute 0"),
        *("side waits for mark 1", "make 1", "main marks", "main waits for side", "compute 1"),
        *("side waits for mark 2", "make 2", "main marks", "main waits for side", "compute 2"),
        *("side waits for mark 3", "closed"),
    ]
    assert current == [main]
