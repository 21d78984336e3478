"""What stands beside a speed: its noise, its energy and its cost."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.speed import offline, single_stream
from deepfake_bench.scenarios.speed.energy import Energy
from deepfake_bench.scenarios.speed.sampling import BLOCKS, noise
from deepfake_core import load


def test_noise_is_a_share_of_the_median_between_blocks_and_within():
    found = noise("latency_ms", [[10.0, 10.0, 10.0], [12.0, 12.0], [11.0]])
    assert found["latency_noise"] == pytest.approx((12 - 10) / np.median([10, 10, 10, 12, 12, 11]))
    assert found["latency_iqr"] == pytest.approx(np.subtract(*np.percentile([10, 10, 10, 12, 12, 11], (75, 25))) / 10.5)
    assert noise("x", [[5.0], [5.0]]) == {"x_noise": 0.0, "x_iqr": 0.0}


def counters(root, packages: dict[str, tuple[str, int]]):
    """Write zones as Linux shows them: name of the zone → (what it counts, µJ)."""
    for zone, (name, energy) in packages.items():
        (root / zone).mkdir(exist_ok=True)
        (root / zone / "name").write_text(f"{name}\n")
        (root / zone / "energy_uj").write_text(f"{energy}\n")
        (root / zone / "max_energy_range_uj").write_text("10000000\n")


def test_energy_is_that_of_the_packages_alone_and_adds_up(tmp_path):
    zones = ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:2", "intel-rapl-mmio:0")
    names = dict(zip(zones, ("package-0", "core", "package-1", "psys", "package-0"), strict=True))
    counters(tmp_path, {zone: (name, 1_000_000) for zone, name in names.items()})
    energy = Energy(tmp_path)
    for _ in range(2):
        with energy:
            for zone in zones:
                file = tmp_path / zone / "energy_uj"
                file.write_text(f"{int(file.read_text()) + 500_000}")
    assert energy.joules == pytest.approx(2 * 2 * 0.5)
    assert energy.per("file", 4) == {"joules_per_file": pytest.approx(0.5)}
    assert "RAPL" in energy.conditions()["joules"]


def test_a_counter_that_starts_again_is_followed(tmp_path):
    counters(tmp_path, {"intel-rapl:0": ("package-0", 9_000_000)})
    with Energy(tmp_path) as energy:
        counters(tmp_path, {"intel-rapl:0": ("package-0", 500_000)})
    assert energy.joules == pytest.approx(1.5)


def test_without_a_counter_there_is_no_figure(tmp_path):
    counters(tmp_path, {"intel-rapl:0": ("package-0", 1)})
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    for root in (tmp_path, tmp_path / "nothing"):
        with Energy(root) as energy:
            pass
        assert (energy.joules, energy.per("file", 3), energy.conditions()) == (None, {}, {})


def test_a_counter_that_vanishes_gives_no_figure(tmp_path):
    counters(tmp_path, {"intel-rapl:0": ("package-0", 1)})
    with Energy(tmp_path) as energy:
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert energy.joules is None


def test_cost_is_that_of_the_cores_for_the_time_that_a_million_takes():
    job = Job(detector="x", scenario="offline", threads=4, price_per_core_hour=0.05)
    assert offline.cost(job, "cpu", {"files": 100.0}) == {
        "cost_per_million_files": pytest.approx(4 * 0.05 * 1e6 / 100 / 3600)
    }
    assert offline.cost(job, "cuda:0", {"files": 100.0}) == {}
    assert offline.cost(job.model_copy(update={"price_per_core_hour": None}), "cpu", {"files": 100.0}) == {}


def test_speed_scenarios_keep_noise_and_cost_beside_their_figures(tiny):
    detector = load(tiny)
    job = Job(detector=tiny, scenario="offline", seconds=0.05, threads=1, price_per_core_hour=0.04)
    found = offline.measure(detector, job)
    assert {"images_noise", "images_iqr", "files_noise"} <= found.metrics.keys()
    per_s = found.metrics["files_per_s"]
    assert found.metrics["cost_per_million_files"] == pytest.approx(0.04 * 1e6 / per_s / 3600)
    assert len(found.samples["file_ms"]) == BLOCKS
    assert "in the currency" in found.conditions["cost_per_million"]
    stream = single_stream.measure(detector, job)
    assert stream.metrics["latency_noise"] >= 0
    assert stream.metrics["predict_noise"] >= 0
