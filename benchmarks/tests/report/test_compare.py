"""``dfbench compare``: changes are told from noise, and what cannot be compared is named with the reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.cli.measure.compare import change_text
from deepfake_bench.report.comparison import BY_ITSELF, compare
from deepfake_bench.report.time_ratios import (
    ALONE,
    ALONE_MEMORY,
    BETWEEN_RUNS,
    THRESHOLD,
    drift,
    ratio_of_medians,
    verdict_on_times,
)

PAIRS = 100


def process(rng, slower: float = 1.0, count: int = 60, noise: float = 0.05, between: float = 0.01) -> list[float]:
    """Raw samples in ms as a machine gives them: log-normal, with a level of their own, a drift, and outliers."""
    level = 20 * slower * np.exp(rng.normal() * between)
    drift = np.cumsum(rng.normal(size=count)) / np.sqrt(count) * 0.01
    outliers = np.where(rng.random(count) < 0.05, 1 + rng.exponential(size=count), 1.0)
    return (level * np.exp(rng.normal(size=count) * noise + drift) * outliers).tolist()


def share_found(slower: float, verdict: str, processes: int = 1, **machine) -> float:
    """How often pairs of runs, the second of them slower by a factor, get a verdict."""
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(PAIRS):
        runs = [[process(rng, factor, **machine) for _ in range(processes)] for factor in (1.0, slower)]
        found += verdict_on_times(*runs, THRESHOLD)[0] == verdict
    return found / PAIRS


@pytest.mark.parametrize("machine", [{}, {"count": 20, "noise": 0.03}, {"count": 300}, {"noise": 0.1}])
def test_two_runs_on_one_machine_are_no_change(machine):
    assert share_found(1.0, "no change", **machine) >= 0.95


@pytest.mark.parametrize("machine", [{}, {"count": 20, "noise": 0.03}, {"count": 300}])
def test_a_detector_slowed_by_a_tenth_is_caught(machine):
    assert share_found(1.1, "slower", **machine) >= 0.9
    assert share_found(1 / 1.1, "faster", **machine) >= 0.9


def test_several_rounds_tell_a_change_on_a_machine_that_others_use():
    shared = {"between": 0.04, "count": 100}
    assert share_found(1.0, "no change", processes=1, **shared) < 0.8, "the machine is not as noisy as it should be"
    assert share_found(1.0, "no change", processes=5, **shared) >= 0.95
    assert share_found(1.2, "slower", processes=10, **shared) >= 0.95


@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("rounds", [3, 5, 10])
@pytest.mark.parametrize("between", [0.02, 0.06, 0.15])
def test_among_a_hundred_figures_none_differs_by_chance(between, rounds, in_turns):
    """Few rounds make wide intervals: a bootstrap over 5 processes would be wrong 3 times in 100 at these spreads."""
    rng = np.random.default_rng(11)
    levels = np.exp(between * rng.normal(size=(2, 2000, rounds, 1)))
    wrong = sum(
        verdict_on_times(before, after, THRESHOLD, in_turns=in_turns)[0] != "no change"
        for before, after in zip(*levels.tolist(), strict=True)
    )
    assert wrong <= 2000 * 0.001 + 4 * np.sqrt(2000 * 0.001)


def test_a_process_that_something_disturbed_does_not_count():
    before, after = [[10.0]] * 20, [[11.0]] * 18 + [[30.0], [11.0]]
    ratio = ratio_of_medians(before, after, in_turns=True)
    assert ratio == pytest.approx((1.1, 1.1, 1.1))
    assert ratio_of_medians(before[:5], after[-5:], in_turns=True).value > 1.2, "few processes all count"
    rng = np.random.default_rng(5)
    values = rng.normal(size=20)
    stats = pytest.importorskip("scipy.stats")
    found = ratio_of_medians(np.ones((20, 1)).tolist(), np.exp(values)[:, None].tolist(), in_turns=True)
    kept = np.sort(values)[2:-2]
    error = np.std(stats.mstats.winsorize(values, (0.1, 0.1)).data, ddof=1) / (0.8 * np.sqrt(20))  # Yuen (1974)
    reach = stats.t.ppf(0.9995, 15) * error * np.sqrt(0.8 * 19 / 15)
    assert np.log(found) == pytest.approx([kept.mean(), kept.mean() - reach, kept.mean() + reach])


def test_two_processes_that_differ_much_tell_nothing(measured, report_of):
    def report(*times: float):
        return report_of(*(measured(samples={"latency_ms": [ms] * 30}) for ms in times))

    (item,) = compare(report(10.0, 200.0), report(30.0, 30.0), threshold=0.05)
    assert (item.verdict, item.change.high) == ("no change", None)
    assert change_text(item) == "-32.9 %"
    (item,) = compare(report(10.0, 11.0), report(20.0, 21.0), threshold=0.05)
    assert "[" not in change_text(item)


def test_twenty_rounds_find_a_tenth_where_processes_differ_as_much():
    rng = np.random.default_rng(12)
    levels = np.exp(0.05 * rng.normal(size=(2, 200, 20, 1))) * [[[[1.0]]], [[[1.1]]]]
    found = [verdict_on_times(*pair, THRESHOLD, in_turns=True)[0] for pair in zip(*levels.tolist(), strict=True)]
    assert found.count("slower") >= 0.9 * len(found)


def test_what_drifts_between_rounds_falls_out_of_what_was_measured_in_turns():
    rng = np.random.default_rng(3)
    levels = [1.25, 1.25, 1.0, 1.25, 1.0, 1.0, 1.0]  # a machine that is slower for a while
    before = [process(rng, level) for level in levels]
    after = [process(rng, 1.1 * level) for level in levels]
    assert verdict_on_times(before, after, THRESHOLD)[0] == "no change"
    assert verdict_on_times(before, after, THRESHOLD, in_turns=True)[0] == "slower"
    again = [process(rng, level) for level in levels]
    assert verdict_on_times(before, again, THRESHOLD, in_turns=True)[0] == "no change"
    ratio = ratio_of_medians(before, after, in_turns=True)
    assert ratio.low < 1.1 < ratio.high
    assert ratio.high - ratio.low < 0.1
    assert ratio_of_medians(before, after[:-1], in_turns=True) == ratio_of_medians(before, after[:-1])


def test_reports_are_paired_where_they_were_made_in_turns(measured, report_of):
    rng = np.random.default_rng(3)
    levels = [1.25, 1.0, 1.25, 1.0, 1.0]

    def report(factor: float, turns: str):
        rows = [measured(samples={"latency_ms": process(rng, factor * level)}) for level in levels]
        return report_of(*rows).model_copy(update={"turns": turns})

    assert verdicts(compare(report(1, "a"), report(1.1, "a")))["latency_ms_p50"] == "slower"
    assert verdicts(compare(report(1, "a"), report(1.1, "b")))["latency_ms_p50"] == "no change"
    assert verdicts(compare(report(1, ""), report(1.1, "")))["latency_ms_p50"] == "no change"


@pytest.mark.parametrize(("turns", "rounds", "least"), [("a", 3, THRESHOLD), ("", 3, BETWEEN_RUNS), ("", 1, ALONE)])
def test_the_less_alike_the_circumstances_the_more_runs_have_to_differ(turns, rounds, least, measured, report_of):
    def report(factor: float):
        samples = {"latency_ms": [10.0 * factor] * 30}
        rows = [measured(samples=samples, metrics={"peak_rss_mb": 100.0 * factor})] * rounds
        return report_of(*rows).model_copy(update={"turns": turns})

    def found(factor: float, **options):
        return {item.metric: (item.verdict, item.reason) for item in compare(report(1), report(factor), **options)}

    reason = BY_ITSELF if least > THRESHOLD else ""
    assert found(1 + least - 0.01)["latency_ms_p50"] == ("no change", reason)
    assert found(1 / (1 + least - 0.01))["latency_ms_p50"] == ("no change", reason)
    assert found(1 + least + 0.01)["latency_ms_p50"][0] == "slower"
    assert found(1 / (1 + least + 0.01))["latency_ms_p50"][0] == "faster"
    assert found(1 + THRESHOLD / 2)["latency_ms_p50"] == ("no change", "")
    assert found(1 + THRESHOLD + 0.01, threshold=THRESHOLD)["latency_ms_p50"][0] == "slower", "who asks, is told"
    least = ALONE_MEMORY if rounds == 1 else least
    assert [found(1 + least + change)["peak_rss_mb"][0] for change in (-0.01, 0.01)] == ["no change", "worse"]


def test_a_change_within_what_one_process_wandered_does_not_count():
    steady, risen = [10.0] * 300, [10.0] * 76 + [12.0] * 224
    assert drift(steady) == 1
    assert drift(risen) == pytest.approx(1.2)
    verdict, reason = verdict_on_times([steady], [risen], THRESHOLD)
    assert verdict == "no change"
    assert "20%" in reason
    assert verdict_on_times([steady], [[12.5] * 300], THRESHOLD)[0] == "slower"


def test_the_interval_of_several_processes_is_students():
    before, after = [[10.0], [11.0], [10.5]], [[12.0], [12.5], [13.5]]
    pairs = np.log([1.2, 12.5 / 11, 13.5 / 10.5])
    reach = 31.599 * pairs.std(ddof=1) / np.sqrt(3)  # of any table: 99.9 %, 2 degrees of freedom
    expected = np.exp([pairs.mean(), pairs.mean() - reach, pairs.mean() + reach])
    assert ratio_of_medians(before, after, in_turns=True) == pytest.approx(tuple(expected), rel=1e-4)
    stats = pytest.importorskip("scipy.stats")
    logs = [np.log(np.ravel(side)) for side in (after, before)]
    ends = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.999)
    found = ratio_of_medians(before, after)
    assert found.value == pytest.approx(np.exp(logs[0].mean() - logs[1].mean()))
    # Whole degrees of freedom, the lower ones, make ours a little wider.
    assert np.log(found.low) <= ends.low < 0 < ends.high <= np.log(found.high)
    same = ratio_of_medians([[10.0]] * 3, [[10.0]] * 3)
    assert same == (1, 1, 1)


def test_the_ratio_has_its_interval_and_is_turned_with_the_reports():
    rng = np.random.default_rng(0)
    before, after = [process(rng)], [process(rng, 1.3)]
    there, back = ratio_of_medians(before, after), ratio_of_medians(after, before)
    assert there.low < there.value < there.high
    assert there.value == pytest.approx(1.3, rel=0.05)
    assert there.value * back.value == pytest.approx(1)


def verdicts(found) -> dict[str, str]:
    return {" ".join(filter(None, (item.metric, item.source))): item.verdict for item in found}


def test_speed_memory_size_and_throughput(measured, report_of):
    rng = np.random.default_rng(0)

    def report(factor: float):
        stream = measured(
            metrics={"latency_ms_p50": 20.0, "peak_rss_mb": 100.0 * factor},
            samples={"latency_ms": process(rng, factor), "warm_up_ms": process(rng, factor)},
        )
        start = measured("cold_start", metrics={"file_mb": 7.0 * factor, "parameters": 5e6})
        batches = {f"batch_{size}_ms": process(rng, factor * size) for size in (1, 8)}
        offline = measured("offline", metrics={"images_per_s": 400.0, "best_batch": 8}, samples=batches)
        return report_of(stream, start, offline)

    slower = compare(report(1.0), report(2.2))
    assert verdicts(slower) == {
        "latency_ms_p50": "slower", "peak_rss_mb": "worse", "file_mb": "worse", "parameters": "no change",
        "images_per_s": "slower",
    }  # fmt: skip
    rate = next(item for item in slower if item.metric == "images_per_s")
    assert rate.values[0] > rate.values[1]
    assert rate.change.value == pytest.approx(1 / 2.2 - 1, abs=0.05)
    assert set(verdicts(compare(report(2.2), report(1.0))).values()) == {"faster", "better", "no change"}
    assert set(verdicts(compare(report(1.0), report(2.2), threshold=1.5)).values()) == {"no change"}


def test_accuracy_by_intervals_per_source_and_over_sources(judged, report_of):
    before = report_of(judged({"one": (0.80, 0.02), "two": (0.90, 0.02)}))
    after = report_of(judged({"one": (0.81, 0.02), "two": (0.70, 0.02)}))
    found = compare(before, after)
    assert verdicts(found) == {"auc one": "no change", "auc two": "worse", "auc mean over sources": "worse"}
    (two,) = (item for item in found if item.source == "two")
    half = np.hypot(0.02, 0.02)
    assert [two.change.value, two.change.low, two.change.high] == pytest.approx([-0.2, -0.2 - half, -0.2 + half])
    assert verdicts(compare(after, before))["auc two"] == "better"
    assert set(verdicts(compare(before, before)).values()) == {"no change"}


def test_shares_that_are_traded_are_compared_only_where_there_is_one_class(judged, report_of):
    def report(share: float):
        row = judged({"both": (0.8, 0.01), "fakes": (0.8, 0.01)})
        found = {"fakes_found": {"value": share, "low": share - 0.01, "high": share + 0.01}}
        changed = [{**source.model_dump(), "metrics": found} for source in row.sources]
        changed[1]["real"] = 0
        return report_of(type(row).model_validate(row.model_dump() | {"sources": changed}))

    assert verdicts(compare(report(0.5), report(0.9))) == {"fakes_found fakes": "better"}


def test_less_of_an_error_rate_is_better(judged, report_of):
    def report(eer: float):
        row = judged({"one": (0.8, 0.01)}).model_dump()
        row["sources"][0]["metrics"] = {
            "eer": {"value": eer, "low": eer - 0.01, "high": eer + 0.01},
            "ece": {"value": eer},
        }
        return report_of(type(judged({"one": (0.8, 0.01)})).model_validate(row))

    assert verdicts(compare(report(0.3), report(0.1))) == {"eer one": "better", "ece one": "not comparable"}


def test_what_differs_is_not_comparable_and_says_why(measured, judged, report_of):
    stream = measured(samples={"latency_ms": [10.0] * 30})
    slower = measured(samples={"latency_ms": [20.0] * 30})
    auc = judged({"one": (0.8, 0.01)})

    def reasons(before, after) -> list[tuple[str, str]]:
        return [(item.verdict, item.reason.partition(":")[0]) for item in compare(before, after)]

    assert reasons(report_of(stream), report_of(slower, cpu="CPU two")) == [("not comparable", "another machine")]
    virtual = [report_of(row, cpu_id=f"AuthenticAMD 25 {model} 1") for row, model in ((stream, 17), (slower, 1))]
    assert reasons(*virtual) == [("not comparable", "another processor of the same name")]
    gpu, other = (stream.model_copy(update={"device": f"cuda: {name}"}) for name in ("A40", "H200"))
    assert reasons(report_of(gpu), report_of(other)) == [("not comparable", "another device")]
    elsewhere = judged({"one": (0.6, 0.01)}, sha256="b" * 64)
    assert reasons(report_of(auc), report_of(elsewhere)) == [("not comparable", "other data under the same name")]
    assert reasons(report_of(auc), report_of(judged({"one": (0.6, 0.01)}), cpu="CPU two")) == [("worse", "")]
    few = measured(samples={"latency_ms": [10.0]})
    assert reasons(report_of(few), report_of(few)) == [("not comparable", "a single time says nothing about noise")]
    more = stream.model_copy(update={"threads": 1})
    assert reasons(report_of(stream), report_of(more)) == [
        ("not comparable", "only in the first report"), ("not comparable", "only in the second report"),
    ]  # fmt: skip
    failed = measured(status="failed", reason="it broke", backend="auto", device="auto", threads=None)
    assert reasons(report_of(stream), report_of(failed)) == [("worse", "failed")]
    skipped = failed.model_copy(update={"status": "skipped"})
    assert reasons(report_of(stream), report_of(skipped)) == [("not comparable", "skipped")]


def test_untrained_accuracy_is_never_compared(judged, report_of):
    row = judged({"one": (0.8, 0.01)}, weights="untrained")
    assert compare(report_of(row), report_of(row)) == []


def test_another_version_of_a_detector_is_paired(measured, report_of):
    first, second = (
        measured(detector=f"lite@{version}", samples={"latency_ms": [ms] * 30})
        for version, ms in ((1, 10.0), (2, 21.0))
    )
    assert verdicts(compare(report_of(first), report_of(second))) == {"latency_ms_p50": "slower"}


def test_the_command_has_an_exit_status_for_a_gate(measured, report_of, tmp_path):
    def written(name: str, ms: float, **machine) -> str:
        report_of(measured(samples={"latency_ms": [ms] * 30}), **machine).write(tmp_path / name)
        return str(tmp_path / name)

    before, same, slow = written("a.json", 10.0), written("b.json", 10.1), written("c.json", 21.0)

    def run(*arguments: str):
        return CliRunner().invoke(app, ["compare", *arguments])

    done = run(before, same)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1 figures: 1 no change")
    assert "latency_ms_p50" in run(before, same, "--all").stdout
    done = run(before, slow)
    assert done.exit_code == 1
    assert "+110.0 %" in done.stdout
    assert "slower" in done.stdout
    assert run(slow, before).exit_code == 0
    assert run(before, slow, "--threshold", "1.2").exit_code == 0
    (item,) = json.loads(run(before, slow, "--format", "json").stdout)
    assert (item["verdict"], item["before"], item["after"]) == ("slower", 10.0, 21.0)
    between = written("e.json", 12.0)
    done = run(before, between)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "1 figures: 1 no change")
    assert "1 without a change differ" in done.stdout
    assert run(before, between, "--threshold", "0.05").exit_code == 1
    nothing = run(before, written("d.json", 12.0, cpu="CPU two"))
    assert nothing.exit_code == 2
    assert "nothing can be compared" in nothing.stderr


def test_a_run_of_several_rounds_is_one_side_of_a_comparison(tiny, tmp_path, idle):
    file = str(tmp_path / "report.json")
    arguments = ["run", "--detector", tiny, "--scenario", "single_stream", "--seconds", "0.05", "--repeat", "2"]
    assert CliRunner().invoke(app, [*arguments, "--json", file]).exit_code == 0
    idle(tmp_path / "report.json")
    done = CliRunner().invoke(app, ["compare", file, file, "--format", "json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {item["metric"] for item in found} == {"latency_ms_p50", "predict_ms_p50", "peak_rss_mb"}
    assert {item["verdict"] for item in found} == {"no change"}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((0.0,), (0.01,), "slower"),
        ((None,), (None,), "slower"),
        ((0.0,), (0.23,), "not comparable"),
        ((0.23,), (0.0,), "not comparable"),
        ((0.0, 0.0, 0.9), (0.0, 0.0, 0.0), "slower"),
        ((0.0, 0.2, 0.9), (0.0, 0.0, 0.0), "not comparable"),
    ],
)
def test_times_beside_which_other_work_ran_are_not_compared(measured, report_of, before, after, verdict):
    def rounds(ms, shares):
        rng = np.random.default_rng(3)
        samples = [(ms * np.exp(0.01 * rng.normal(size=50))).tolist() for _ in shares]
        return report_of(*(
            measured(metrics={"peak_rss_mb": 100.0}, samples={"latency_ms": found}, others_share=share)
            for found, share in zip(samples, shares, strict=True)
        ))  # fmt: skip

    found = {item.metric: item for item in compare(rounds(10.0, before), rounds(40.0, after))}
    assert found["latency_ms_p50"].verdict == verdict
    assert ("repeat on an idle machine" in found["latency_ms_p50"].reason) == (verdict == "not comparable")
    assert found["peak_rss_mb"].verdict == "no change", "memory does not depend on other work"
