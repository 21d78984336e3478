"""The server scenario: its queue on a clock that only moves when it is told to, and a run on a small detector."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_bench.jobs import Job
from deepfake_bench.scenarios import SCENARIOS, server
from deepfake_core import load


class Clock:
    """Seconds that pass by sleeping and by serving alone."""

    def __init__(self, services=()):
        self.now = 100.0
        self.services = iter(services)
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def serve(self):
        self.now += next(self.services)


def respond(services, due):
    clock = Clock(services)
    return server.respond(clock.serve, due, clock, clock.sleep), clock.slept


def test_a_request_waits_for_those_before_it_and_counts_from_when_it_was_due():
    responses, slept = respond([3.0, 1.0, 1.0, 1.0], [1.0, 2.0, 2.5, 9.0])
    # The first is served from 1 to 4, the second from 4 to 5, the third from 5 to 6; the fourth finds nobody.
    assert responses == pytest.approx([3000.0, 3000.0, 3500.0, 1000.0])
    assert slept == pytest.approx([1.0, 3.0])


def test_without_a_queue_a_response_is_its_service():
    responses, _ = respond([0.2, 0.4, 0.1], [1.0, 2.0, 3.0])
    assert responses == pytest.approx([200.0, 400.0, 100.0])


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_the_mean_response_is_that_of_queueing_theory(load):
    """Constant service of 1 s: M/D/1, whose mean wait is ρ / 2(1 − ρ) (Pollaczek and Khinchine)."""
    count = 200_000
    responses, _ = respond([1.0] * count, server.arrivals_s(load, count, 3))
    assert np.mean(responses) / 1e3 == pytest.approx(1 + load / (2 * (1 - load)), rel=0.03)


def test_arrivals_are_seeded_ascending_and_of_the_rate_that_was_asked_for():
    due = server.arrivals_s(40.0, 10_000, 0)
    gaps = np.diff(due, prepend=0.0)
    assert due == server.arrivals_s(40.0, 10_000, 0) != server.arrivals_s(40.0, 10_000, 1)
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(1 / 40, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 40, rel=0.05)  # an exponential's mean and deviation are one number


def test_slow_detectors_are_asked_less_often():
    assert server.requests(rate=100.0, seconds=3.0) == 300
    assert server.requests(rate=50.0, seconds=3.0) == 200
    assert server.requests(rate=1.0, seconds=3.0) == 20
    assert server.requests(rate=0.1, seconds=3.0) == 5


def test_a_run_keeps_its_samples_and_names_its_loads(tiny, monkeypatch):
    monkeypatch.setattr(server, "AT_LEAST", 20)
    outcome = server.measure(load(tiny), Job(detector=tiny, scenario="server", seconds=0.05))
    found = outcome.metrics
    for percent in server.LOADS:
        assert found[f"offered_per_s_load_{percent}"] == pytest.approx(found["capacity_per_s"] * percent / 100)
        responses = outcome.samples[f"response_ms_load_{percent}"]
        assert found[f"response_ms_load_{percent}_p99"] == pytest.approx(np.percentile(responses, 99))
        assert f"{len(responses)} at {percent} %" in outcome.conditions["requests"]
    scenario = SCENARIOS["server"]
    assert {scenario.headline, *scenario.also} <= found.keys()
    assert not scenario.by_default
