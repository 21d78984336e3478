"""The server scenario: its queue on a clock that only moves when it is told to, and a run on a small detector."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.job import Job
from deepfake_bench.report.comparison import compare
from deepfake_bench.runner.plan import plan
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_bench.scenarios.speed import open_loop, p99_search, server
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
    return list(open_loop.respond(clock.serve, due, clock, clock.sleep)), clock.slept


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
    responses, _ = respond([1.0] * count, open_loop.arrivals_s(load, count, 3))
    assert np.mean(responses) / 1e3 == pytest.approx(1 + load / (2 * (1 - load)), rel=0.03)


def test_arrivals_are_seeded_ascending_and_of_the_rate_that_was_asked_for():
    due = open_loop.arrivals_s(40.0, 10_000, 0)
    gaps = np.diff(due, prepend=0.0)
    assert due == open_loop.arrivals_s(40.0, 10_000, 0) != open_loop.arrivals_s(40.0, 10_000, 1)
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
    assert {scenario.headline, *scenario.also} - found.keys() == {"requests_per_s_within_p99"}, "only where it is asked"
    assert not scenario.by_default


def within(p99_ms: float, service_s: float = 1.0, late: int = 5):
    """The search on a clock of its own, at a constant service; and how many requests were served in it."""
    clock = Clock(itertools.repeat(service_s))
    served = []

    def serve():
        served.append(clock.now)
        clock.serve()

    seconds = 100 * late * service_s
    return p99_search.rate_within_p99(serve, 1 / service_s, p99_ms, seconds, clock, clock.sleep), len(served)


def share_within(load: float, wait_s: float) -> float:
    """Share of requests that wait at most so long, service 1 s: the distribution of the M/D/1 queue (Erlang 1909)."""
    terms = (
        (load * (k - wait_s)) ** k / math.factorial(k) * math.exp(-load * (k - wait_s))
        for k in range(math.floor(wait_s) + 1)
    )
    return (1 - load) * sum(terms)


@pytest.mark.parametrize("wait_s", [1.5, 4.0, 8.0])
def test_the_load_within_a_bound_is_that_of_queueing_theory(wait_s):
    loads = np.linspace(0.1, 0.95, 1000)
    expected = max(load for load in loads if share_within(load, wait_s) >= 0.99)
    found, _ = within(1e3 * (1 + wait_s), late=300)
    assert found.metrics["load_percent_within_p99"] / 100 == pytest.approx(expected, abs=0.04)
    assert found.metrics["requests_per_s_within_p99"] == pytest.approx(found.metrics["load_percent_within_p99"] / 100)


@pytest.mark.parametrize("p99_ms", [2200.0, 2900.0, 4000.0])
def test_no_higher_load_would_have_kept_the_bound(p99_ms):
    def keeps(load):
        clock = Clock(itertools.repeat(1.0))
        due = open_loop.arrivals_s(load / 100, 501, p99_search.SEED)
        return np.percentile(list(open_loop.respond(clock.serve, due, clock, clock.sleep)), 99) <= p99_ms

    brute = max(load for load in np.arange(p99_search.LEAST, p99_search.MOST, 0.25) if keeps(load))
    found, _ = within(p99_ms)
    step = (p99_search.MOST - p99_search.LEAST) / 2 ** (p99_search.TRIES - 1)
    assert brute - step <= found.metrics["load_percent_within_p99"] <= brute + 0.25
    assert found.metrics["response_ms_within_p99_p99"] <= p99_ms
    assert len(found.samples["response_ms_within_p99"]) == 501


def test_the_rate_is_in_requests_a_second_and_the_tries_are_counted():
    slow, served = within(4000.0)
    fast, _ = within(40.0, service_s=0.01)
    assert fast.metrics["load_percent_within_p99"] == slow.metrics["load_percent_within_p99"]
    assert fast.metrics["requests_per_s_within_p99"] == pytest.approx(100 * slow.metrics["requests_per_s_within_p99"])
    tried = slow.conditions["within_p99"].partition("capacity: ")[2].split(", ")
    assert len(tried) == p99_search.TRIES
    assert tried[0] == f"{p99_search.MOST} % no"
    assert served < 501 * p99_search.TRIES, "a load is given up once its p99 is beyond the bound"
    assert "501 at each load, of which 5 may be late" in slow.conditions["requests within_p99"]


def test_a_bound_that_no_load_keeps_gives_no_value_and_says_so():
    found, served = within(999.0)
    assert math.isnan(found.metrics["requests_per_s_within_p99"])
    assert "load_percent_within_p99" not in found.metrics
    assert "none: not even at 11.3 %" in found.conditions["requests_per_s_within_p99"]
    assert served == 6 * p99_search.TRIES
    assert found.samples == {}


def test_a_bound_that_every_load_keeps_is_said_to_be_loose():
    found, served = within(1e6)
    assert found.metrics["load_percent_within_p99"] == p99_search.MOST
    assert served == 501
    assert "may be more" in found.conditions["requests_per_s_within_p99"]


def test_the_bound_reaches_the_scenario_and_its_rate_the_report(tiny, monkeypatch, measured, report_of):
    monkeypatch.setattr(server, "AT_LEAST", 20)
    monkeypatch.setattr(p99_search, "LATE", 1)
    (job,) = plan([tiny], None, ["server"], [], seconds=0.05, p99_ms=1e6)
    found = server.measure(load(tiny), job)
    assert found.metrics["p99_bound_ms"] == 1e6
    assert found.metrics["requests_per_s_within_p99"] == pytest.approx(found.metrics["capacity_per_s"] * 0.95)
    assert "within_p99" in found.conditions
    # Each report found a load of its own, so times at these loads are not compared.
    row = measured(
        "server", metrics=found.metrics, samples={"response_ms_within_p99": [1.0] * 9, "service_ms": [1.0] * 9}
    )
    assert {item.metric for item in compare(report_of(row), report_of(row))} >= {"service_ms_p50"}
    assert not [item for item in compare(report_of(row), report_of(row)) if "within" in item.metric]


def test_a_bound_without_the_scenario_is_refused():
    done = CliRunner().invoke(app, ["run", "--p99-ms", "100"])
    assert done.exit_code == 2
    assert "--scenario server" in done.stderr
