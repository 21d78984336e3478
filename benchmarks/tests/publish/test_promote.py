"""``dfbench promote``: only what was measured, itself, and met its targets; or with a recorded reason."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.report import TargetCheck
from deepfake_bench.registry.promotion import summary
from deepfake_core.contract.specs import Target
from deepfake_core.discovery.artifacts import read_bare, write_package
from deepfake_registry.store.opening import open_registry

MODEL = Path(__file__).parents[1] / "tiny.onnx"


def make_package(folder, version="1", **changes):
    manifest = read_bare(MODEL).manifest.model_copy(update={"version": version, **changes})
    return write_package(folder, manifest, {"onnx": MODEL}).folder


@pytest.fixture(scope="module")
def measured(dfbench, tmp_path_factory, idle):
    """A registry with ``tiny@1`` as ``tiny@candidate``, and what ``dfbench run`` found about that."""
    root = tmp_path_factory.mktemp("measured")
    registry = open_registry(root / "registry")
    registry.push(make_package(root / "package"))
    registry.move("tiny", "candidate", "1", reason="to be measured")
    done = dfbench(
        "run", "--detector", "tiny@candidate", "--device", "cpu", "--seconds", "0.05", "--json", root / "report.json",
        "--scenario", "single_stream", "--scenario", "cold_start", "--scenario", "accuracy",
        env={"DEEPFAKE_REGISTRY": str(root / "registry")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    idle(root / "report.json")
    return json.loads((root / "report.json").read_text())


@pytest.fixture
def promote(tiny, tmp_path, monkeypatch):
    """Promote ``tiny@1`` by a report; another registry each time."""
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.delenv("DEEPFAKE_REGISTRY_KEY", raising=False)
    open_registry().push(make_package(tmp_path / "package"))

    def run(report, *options):
        (tmp_path / "report.json").write_text(json.dumps(report))
        words = ["promote", "tiny@1", "--to", "production", "--report", str(tmp_path / "report.json"), *options]
        return CliRunner().invoke(app, words)

    return run


def changed(report, scenario, **fields):
    """The report with other values in the row of one scenario."""
    rows = [row | fields if row["scenario"] == scenario else row for row in report["measurements"]]
    return report | {"measurements": rows}


def history():
    return open_registry().aliases.history("tiny", "production")


def no_alias():
    return open_registry().aliases.names("tiny") == []


@pytest.fixture
def good(measured):
    """The report, had the file been as small as its target, and the dataset been that of its target."""
    rows = {row["scenario"]: row for row in measured["measurements"]}
    small = changed(measured, "cold_start", metrics=rows["cold_start"]["metrics"] | {"file_mb": 1e-10})
    accuracy = rows["accuracy"]
    return changed(
        small,
        "accuracy",
        dataset=accuracy["dataset"] | {"name": "elsewhere"},
        metrics=accuracy["metrics"] | {"auc": 0.95},
    )


def test_the_report_names_the_version_and_its_artefact(measured):
    for row in measured["measurements"]:
        assert row["detector"] == "tiny@1"  # the alias may be moved while it is measured
        assert row["artefact_sha256"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()


def test_when_its_targets_hold(promote, good):
    done = promote(good)
    assert done.exit_code == 0, done.output
    assert "tiny@production is tiny@1 now" in done.output
    (move,) = history()
    assert (move.how, move.version, move.problems) == ("promote", "1", ())
    assert move.reason == "3 of 3 documented targets met"
    registry = open_registry()
    kept = registry.read_report(registry.resolve("tiny@production"), move.report_sha256)
    assert json.loads(kept) == good


def test_not_when_a_target_is_missed(promote, measured):
    done = promote(measured)
    assert done.exit_code == 2
    assert "tiny@1 is not promoted: file_mb is" in done.output
    assert "and should be <= 1e-09 (test)" in done.output
    assert no_alias()


def test_what_the_report_says_of_its_targets_does_not_count(promote, measured):
    rows = [row | {"targets": []} for row in measured["measurements"]]
    assert promote(measured | {"measurements": rows}).exit_code == 2
    assert no_alias()


def test_an_override_is_recorded_with_what_was_missed(promote, measured):
    done = promote(measured, "--override", "the old one is worse", "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["how"] == "override"
    (move,) = history()
    assert (move.how, move.reason) == ("override", "the old one is worse")
    assert len(move.problems) == 2
    assert move.problems[0].startswith("file_mb is")
    shown = CliRunner().invoke(app, ["registry", "alias", "tiny", "production", "--history"]).output
    assert "override the old one is worse (in spite of: file_mb is" in " ".join(shown.split())


def test_an_override_needs_a_reason(promote, measured):
    assert promote(measured, "--override", " ").exit_code == 2
    assert no_alias()


def test_an_override_that_was_not_needed_is_none(promote, good):
    assert promote(good, "--override", "in a hurry", "--reason", "release 2").exit_code == 0
    (move,) = history()
    assert (move.how, move.reason) == ("promote", "release 2")


@pytest.mark.parametrize("options", [(), ("--override", "trust me")])
def test_never_by_a_report_about_another_file(promote, good, options):
    rows = [row | {"artefact_sha256": "0" * 64} for row in good["measurements"]]
    done = promote(good | {"measurements": rows}, *options)
    assert done.exit_code == 2
    assert "measures no file of tiny@1" in done.output
    assert "dfbench run --detector tiny@1" in done.output
    assert no_alias()


def test_not_when_a_scenario_with_a_target_was_left_out_or_failed(promote, good):
    rows = [row for row in good["measurements"] if row["scenario"] != "single_stream"]
    done = promote(good | {"measurements": rows})
    assert done.exit_code == 2
    assert "single_stream was not measured, and there is a target for it" in done.output
    done = promote(changed(good, "single_stream", status="failed", reason="out of memory", metrics={}))
    assert done.exit_code == 2
    assert "single_stream failed: out of memory" in done.output
    assert no_alias()


def test_not_when_the_dataset_of_a_target_was_not_measured(promote, good):
    (row,) = [row for row in good["measurements"] if row["scenario"] == "accuracy"]
    done = promote(changed(good, "accuracy", dataset=row["dataset"] | {"name": "plumbing-check"}))
    assert done.exit_code == 2
    assert "auc should be >= 0.9 on the dataset elsewhere, which was not measured" in " ".join(done.output.split())
    assert no_alias()


def test_not_by_what_is_no_report(promote):
    done = promote({"x": 1})
    assert done.exit_code == 2
    assert "not a benchmark report" in done.output


def test_not_untrained_weights(promote, good, tmp_path):
    open_registry().push(make_package(tmp_path / "random", "2", weights="untrained"))
    (tmp_path / "report.json").write_text(json.dumps(good))
    words = ["promote", "tiny@2", "--to", "production", "--report", str(tmp_path / "report.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "the weights are untrained" in done.output
    assert no_alias()


def test_a_report_is_kept_with_a_push_when_it_is_about_the_model(promote, good, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(good))
    push = ["registry", "push", str(make_package(tmp_path / "two", "2")), "--report", str(tmp_path / "report.json")]
    done = CliRunner().invoke(app, push)
    assert done.exit_code == 0, done.output
    registry = open_registry()
    assert len(registry.reports(registry.resolve("tiny@2"))) == 1
    rows = [row | {"artefact_sha256": ""} for row in good["measurements"]]
    (tmp_path / "report.json").write_text(json.dumps(good | {"measurements": rows}))
    done = CliRunner().invoke(app, push)
    assert done.exit_code == 2
    assert "measures no file of tiny@2" in done.output


def untargeted(monkeypatch, *targets):
    """Let the plugin document these targets only."""
    from deepfake_core.discovery.plugins import detector_spec

    spec = dataclasses.replace(detector_spec("tiny"), targets=targets)
    monkeypatch.setattr("deepfake_core.discovery.plugins.detector_spec", lambda _name: spec)


def shown(done):
    return " ".join(done.output.split())


def test_not_when_no_target_is_documented(promote, good, monkeypatch):
    untargeted(monkeypatch)
    done = promote(good)
    assert done.exit_code == 2
    assert "'tiny' documents no target, so that nothing speaks for the model" in shown(done)
    assert no_alias()
    assert promote(good, "--override", "the only one there is").exit_code == 0
    (move,) = history()
    assert (move.how, move.reason) == ("override", "the only one there is")
    assert move.problems[0].startswith("'tiny' documents no target")


@pytest.mark.parametrize("condition", ["GPU: A40", "preset: large"])
def test_not_when_no_target_could_be_measured(promote, good, monkeypatch, condition):
    target = Target(
        metric="file_mb", scenario="cold_start", comparison="<=", value=9.0, source="t", condition=condition
    )
    untargeted(monkeypatch, target)
    done = promote(good)
    assert done.exit_code == 2
    assert "none of its documented targets could be measured (file_mb: stated for" in shown(done)
    assert no_alias()


@pytest.mark.parametrize("auc", [0.458, 0.5])
def test_not_what_ranks_like_a_coin(promote, good, monkeypatch, auc):
    untargeted(monkeypatch, Target(metric="file_mb", scenario="cold_start", comparison="<=", value=9.0, source="t"))
    assert promote(good).exit_code == 0
    done = promote(changed(good, "accuracy", metrics={"auc": auc}))
    assert done.exit_code == 2
    assert f"auc is {auc:g} on elsewhere, which is no better than chance" in shown(done)


def test_not_by_a_source_that_it_ranks_the_wrong_way_round(promote, good):
    (row,) = [row for row in good["measurements"] if row["scenario"] == "accuracy"]
    (source,) = row["sources"]
    turned = source | {"metrics": source["metrics"] | {"auc": {"value": 0.2, "low": 0.1, "high": 0.3}}}
    done = promote(changed(good, "accuracy", sources=[source, turned]))
    assert done.exit_code == 2
    assert "ranks the real samples of plumbing (elsewhere) above the fakes" in shown(done)


def test_not_without_a_measure_of_accuracy(promote, good, monkeypatch):
    untargeted(monkeypatch, Target(metric="file_mb", scenario="cold_start", comparison="<=", value=9.0, source="t"))
    rows = [row for row in good["measurements"] if row["scenario"] != "accuracy"]
    done = promote(good | {"measurements": rows})
    assert done.exit_code == 2
    assert "its accuracy was not measured: dfbench run --scenario accuracy" in shown(done)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_figure_without_a_value_meets_no_target(promote, good, value):
    done = promote(changed(good, "accuracy", metrics={"auc": value}))
    assert done.exit_code == 2
    assert "auc should be >= 0.9 and has no value in accuracy on elsewhere" in shown(done)
    assert "its AUC on elsewhere is undefined" in shown(done)


@pytest.mark.parametrize("few", [{"fake": 3}, {"no_face_rate": 0.5, "error_rate": 0.2}])
def test_a_figure_on_few_samples_meets_no_target(promote, good, few):
    (row,) = [row for row in good["measurements"] if row["scenario"] == "accuracy"]
    done = promote(changed(good, "accuracy", sources=[row["sources"][0] | few]))
    assert done.exit_code == 2
    assert "samples of a class, which are too few to hold against a target" in shown(done)


def test_the_plumbing_check_does_not_count_beside_another_dataset(promote, good):
    (row,) = [row for row in good["measurements"] if row["scenario"] == "accuracy"]
    plumbing = row | {"dataset": row["dataset"] | {"name": "plumbing-check"}, "metrics": {"auc": 0.4}}
    assert promote(good | {"measurements": [*good["measurements"], plumbing]}).exit_code == 0


def test_not_by_a_time_beside_which_other_work_ran(promote, good):
    done = promote(changed(good, "single_stream", others_share=0.23))
    assert done.exit_code == 2
    assert "was not judged: other work used 23 % of the processors; repeat on an idle machine" in done.stderr
    assert no_alias()
    done = promote(changed(good, "single_stream", others_share=0.23), "--override", "measured elsewhere")
    assert done.exit_code == 0, done.output
    checks = promote(good, "--format", "json").stdout
    assert {check["verdict"] for check in json.loads(checks)["targets"]} == {"met"}


def test_the_history_says_which_targets_were_not_decided(good):
    target = {"comparison": "<=", "target": 1.0, "source": "", "condition": ""}
    verdicts = {"a": ("met",), "b": ("not judged",), "c": ("not measurable here",), "d": ("met", "not judged")}
    checks = [
        TargetCheck(metric=metric, verdict=verdict, **target) for metric, found in verdicts.items() for verdict in found
    ]
    assert summary(checks) == "2 of 4 documented targets met; not judged: b; not measurable here: c"
