"""``dfbench run``: the plan, the isolated processes, the report."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.dataset import PLUMBING, DatasetRef, parse_dataset, with_plumbing
from deepfake_bench.records.job import Job
from deepfake_bench.records.report import Measurement, Report, schema
from deepfake_bench.report.comparison import compare
from deepfake_bench.runner import launcher
from deepfake_bench.runner.launcher import launch
from deepfake_bench.runner.machine import make_report
from deepfake_bench.runner.plan import plan, unmeasured
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_core.discovery import plugins
from deepfake_core.errors import TrainingDataError
from deepfake_core.runtimes.cpu_contention import busy_with_others
from deepfake_core.runtimes.threads import allowed_threads


def test_run_measures_everything_and_writes_a_report(tiny, tmp_path):
    arguments = ["run", "--detector", tiny, "--device", "cpu", "--seconds", "0.05", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = Report.model_validate_json((tmp_path / "report.json").read_bytes())
    rows = {row.scenario: row for row in report.measurements}
    assert list(rows) == ["cold_start", "single_stream", "offline", "accuracy"]
    assert {row.status for row in rows.values()} == {"measured"}
    assert {row.backend for row in rows.values()} == {"onnxruntime"}
    assert rows["single_stream"].metrics["latency_ms_p50"] <= rows["single_stream"].metrics["latency_ms_p99"]
    assert len(rows["single_stream"].samples["latency_ms"]) >= 20
    assert 2 <= len(rows["cold_start"].samples["total_ms"]) <= 5  # fewer on a machine that is slow
    assert rows["cold_start"].metrics["total_ms_p50"] > rows["cold_start"].metrics["predict_ms"]
    assert rows["accuracy"].dataset.name == "plumbing-check"
    assert "says nothing about accuracy" in " ".join(done.stdout.split())
    verdicts = {check.metric: check.verdict for row in rows.values() for check in row.targets}
    shares = [row.others_share for row in rows.values()]
    assert all(share is None or 0 <= share <= 1 for share in shares)
    assert (None in shares) != Path("/proc/stat").exists()
    of_latency = "not judged" if busy_with_others(rows["single_stream"].others_share) else "met"
    assert verdicts == {"latency_ms_p50": of_latency, "file_mb": "missed", "auc": "not measurable here"}
    assert len({row.artefact_sha256 for row in rows.values()}) == 1
    assert len(list(tmp_path.glob("predictions-*.csv"))) == 1
    assert report.machine.libraries["onnxruntime"]


def test_a_run_goes_on_where_it_was_cut_off(tiny, tmp_path, monkeypatch):
    arguments = ["run", "--detector", tiny, "--device", "cpu", "--seconds", "0.5", "--quick", "--out", str(tmp_path)]
    launched = []

    def cut_off(job, command):
        launched.append(job.scenario)
        if len(launched) == 2:
            raise KeyboardInterrupt
        return launch(job, command)

    monkeypatch.setattr(launcher, "launch", cut_off)
    assert CliRunner().invoke(app, arguments).exit_code == 130
    report = Report.model_validate_json((tmp_path / "report.json").read_bytes())
    assert [row.status for row in report.measurements].count("measured") == 1
    done = CliRunner().invoke(app, [*arguments, "--resume"])
    assert done.exit_code == 0, done.output
    report = Report.model_validate_json((tmp_path / "report.json").read_bytes())
    assert [row.scenario for row in report.measurements] == ["single_stream", "accuracy", "cold_start"]
    assert report.measurements[-1].status == "skipped"  # left out, with targets
    assert launched == ["single_stream", "accuracy", "accuracy"]
    again = CliRunner().invoke(app, [*arguments, "--resume", "--threads", "1"])
    assert again.exit_code == 0, again.output
    assert launched[3:] == ["single_stream", "accuracy"], "other settings are other measurements"
    assert "name the folder with --out" in CliRunner().invoke(app, ["run", "--resume"]).output


def test_a_detector_without_weights_or_torch_is_skipped_with_the_reason(tiny):
    row = launch(Job(detector="bare", scenario="single_stream"))
    assert row.status in ("skipped", "failed")  # without torch it is torch that is missing, with it the plugin's code
    assert "tiny_plugin_gone" in row.reason or "pip install" in row.reason


CLIPS_PLUGIN = """
from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import DetectorSpec, Target

@hookimpl
def deepfake_detectors():
    yield DetectorSpec(
        name="flicker", summary="brightness over time", detector="clips_detector:Flicker", install="clips[torch]",
        kind="video", targets=(
            Target(metric="parameters", scenario="cold_start", comparison="<=", value=92_885_762, source="test"),
        ),
    )
"""
CLIPS_DETECTOR = """
from torch import nn
from deepfake_core.contract.detector import Detector
from deepfake_registry.manifest import Clip, Normalize, PreprocessSpec, Resize

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(9, 1)

    def forward(self, clips):  # float32 [N, 3, 3, H, W]
        return self.linear(clips.mean((3, 4)).flatten(1)).squeeze(1)

class Flicker(Detector):
    preprocess = PreprocessSpec(
        clip=Clip(length=3, stride=1),
        resize=Resize(height=32, width=32),
        normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1)),
    )

    def build(self):
        return Network()
"""


@pytest.fixture
def clips(tiny, tmp_path, monkeypatch):
    """A detector of clips without weights, installed beside the others."""
    (tmp_path / "clips_plugin.py").write_text(CLIPS_PLUGIN)
    (tmp_path / "clips_detector.py").write_text(CLIPS_DETECTOR)
    info = tmp_path / "clips_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clips-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[deepfake]\nclips = clips_plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    plugins.catalogue.cache_clear()
    yield "flicker"
    plugins.catalogue.cache_clear()


@pytest.mark.torch
def test_a_detector_of_clips_without_weights_gets_latency_but_no_accuracy(clips, tmp_path):
    pytest.importorskip("torch")
    arguments = ["run", "--detector", clips, "--seconds", "0.05", "--targets"]
    arguments += ["--json", str(tmp_path / "report.json")]
    for scenario in ("cold_start", "single_stream", "accuracy"):
        arguments += ["--scenario", scenario]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    rows = {
        row.scenario: row for row in Report.model_validate_json((tmp_path / "report.json").read_bytes()).measurements
    }
    assert {name: row.status for name, row in rows.items()} == {
        "cold_start": "measured", "single_stream": "measured", "accuracy": "skipped",
    }  # fmt: skip
    assert {row.weights for row in rows.values()} == {"untrained"}
    assert rows["accuracy"].reason.startswith("without weights, scores mean nothing")
    assert rows["accuracy"].reason.endswith("--run-dir RUN")  # the first remedy alone
    assert "uint8 3×32×32 to the logit" in rows["single_stream"].conditions["latency_ms"]
    assert rows["cold_start"].metrics["parameters"] == 10  # 000-5, 002-11
    assert "parameters <=" in done.stdout
    assert "92885762" in done.stdout
    assert "untrained" in done.stdout


def test_batches_grow_only_while_one_fits_into_the_measuring_time(tiny, monkeypatch):
    from deepfake_bench.scenarios.speed import offline
    from deepfake_core import load

    detector = load(tiny)
    run = detector.runtime.run
    seen = []

    def slow(images):
        seen.append(len(images))
        time.sleep(0.02 * len(images))
        return run(images)

    monkeypatch.setattr(detector.runtime, "run", slow)
    outcome = offline.measure(detector, Job(detector=tiny, scenario="offline", seconds=0.05))
    assert max(size for size in offline.BATCH_SIZES if f"images_per_s_batch_{size}" in outcome.metrics) <= 4
    assert outcome.conditions["batch"].startswith("up to")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"),
        ("raise MemoryError('no room')", "ended with status 1: MemoryError: no room"),
        ("pass", "ended with status 0"),
    ],
)
def test_a_process_that_dies_is_a_failed_measurement(tiny, code, reason):
    row = launch(Job(detector=tiny, scenario="single_stream"), command=[sys.executable, "-c", code])
    assert row.status == "failed"
    assert reason in row.reason
    assert [check.verdict for check in row.targets] == ["not measurable here"]


def test_another_environment_is_measured_in_turns(tiny, tmp_path, monkeypatch, idle):
    arguments = ["run", "--detector", tiny, "--device", "cpu", "--seconds", "0.1", "--scenario", "single_stream"]
    commands = []

    def listed(job, command):
        commands.append(command[0])
        return launch(job, command)

    monkeypatch.setattr(launcher, "launch", listed)
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # a link to a Python does not find its packages
    done = CliRunner().invoke(
        app, [*arguments, "--repeat", "2", "--beside", str(other), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert commands == [str(other), sys.executable] * 2
    reports = [idle(tmp_path / "out" / name) for name in ("beside.json", "report.json")]
    measured = [[row for row in report.measurements if row.status == "measured"] for report in reports]
    assert [row.scenario for row in measured[0]] == [row.scenario for row in measured[1]] == ["single_stream"] * 2
    assert reports[0].turns == reports[1].turns != ""
    assert reports[0].machine.cpu == reports[1].machine.cpu
    compared = compare(*reports)
    assert {item.metric for item in compared} >= {"latency_ms_p50", "predict_ms_p50"}
    assert all(item.verdict != "not comparable" for item in compared if item.metric)


def test_each_environment_writes_scores_of_its_own(tiny, tmp_path, monkeypatch):
    asked = []

    def listed(job, command):
        asked.append((command[0], Path(job.predictions)))
        return unmeasured(job, "skipped", "not measured in this test")

    monkeypatch.setattr(launcher, "launch", listed)
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    arguments = ["run", "--detector", tiny, "--device", "cpu", "--scenario", "accuracy", "--beside", str(other)]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    (there, theirs), (here, ours) = asked
    assert (there, here) == (str(other), sys.executable)
    assert theirs.name == ours.name
    assert (theirs.parent, ours.parent) == (tmp_path / "out" / "beside", tmp_path / "out")


@pytest.mark.parametrize("program", ["gone", "silent"])
def test_what_cannot_be_measured_beside_is_named(tiny, tmp_path, program):
    (tmp_path / "silent").write_text("#!/bin/sh\necho no such module >&2; exit 1\n")
    (tmp_path / "silent").chmod(0o755)
    done = CliRunner().invoke(app, ["run", "--detector", tiny, "--beside", str(tmp_path / program), "--out", "x"])
    assert done.exit_code == 2
    assert str(tmp_path / program) in done.stderr
    assert "name a Python that has deepfake-core" in done.stderr.replace("\n", " ")
    done = CliRunner().invoke(app, ["run", "--detector", tiny, "--beside", sys.executable])
    assert done.exit_code == 2
    assert "--out" in done.stderr


def test_a_failed_measurement_gives_status_1_and_stands_in_the_report(tiny, tmp_path):
    (tmp_path / "real").mkdir()
    arguments = ["run", "--detector", tiny, "--scenario", "accuracy", "--dataset", str(tmp_path)]
    done = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "report.json")])
    assert done.exit_code == 1
    assert "no pictures or videos" in done.stdout
    statuses = [row["status"] for row in json.loads((tmp_path / "report.json").read_text())["measurements"]]
    assert statuses == ["failed", "measured", "skipped", "skipped"]  # the last two: scenarios left out, with targets


@pytest.mark.parametrize(
    "arguments",
    [["--scenario", "speed"], ["--detector", "tinny"], ["--dataset", "missing"], ["--dataset", "kaggle:."]],
)
def test_usage_errors_are_found_before_anything_is_measured(tiny, arguments):
    done = CliRunner().invoke(app, ["run", "--detector", tiny, *arguments])
    assert done.exit_code == 2
    assert done.stdout == ""


def test_untrained_detectors_come_last_and_are_measured_in_full_only_where_they_are_named(tiny, monkeypatch):
    asked = []

    def listed(job, _):
        asked.append(job)
        return unmeasured(job, "skipped", "not measured in this test")

    monkeypatch.setattr(launcher, "launch", listed)
    done = CliRunner().invoke(app, ["run", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    names = list(dict.fromkeys(job.detector for job in asked))
    assert names.index(tiny) < names.index("bare")
    planned = {name: [(job.scenario, job.seconds) for job in asked if job.detector == name] for name in (tiny, "bare")}
    assert planned["bare"] == [("single_stream", 0.2), ("accuracy", 0.2)]
    assert planned[tiny] == [(name, 2.0) for name in ("cold_start", "single_stream", "offline", "accuracy")]
    asked.clear()
    CliRunner().invoke(app, ["run", "--device", "cpu", "--detector", "bare", "--detector", tiny])
    assert [job.detector for job in asked] == [tiny] * 4 + ["bare"] * 4
    assert {job.seconds for job in asked} == {2.0}


def test_plan_crosses_everything_and_datasets_where_needed():
    jobs = plan(["a", "b"], ["onnxruntime", "torch"], ["offline", "accuracy"], [PLUMBING, PLUMBING])
    assert len(jobs) == 2 * 2 * (1 + 2)
    assert {job.dataset is None for job in jobs if job.scenario == "offline"} == {True}
    jobs = plan(["a"], None, None, with_plumbing([f"again={PLUMBING.path}"]))
    assert {(job.backend, job.threads) for job in jobs} == {("auto", allowed_threads())}
    assert {job.scenario for job in jobs} == {item.name for item in SCENARIOS.values() if item.runs_by_default("auto")}
    assert [job.dataset.name for job in jobs if job.scenario == "accuracy"] == ["again", "plumbing-check"]


def test_parse_dataset(tmp_path, monkeypatch):
    (tmp_path / "faces").mkdir()
    (tmp_path / "a=b:c").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_dataset("faces") == DatasetRef(name="faces", layout="image-folder", path="faces")
    assert parse_dataset("image-folder:faces").layout == "image-folder"
    assert parse_dataset("mine=image-folder:faces").name == "mine"
    assert parse_dataset("mine=faces").name == "mine"
    assert parse_dataset("a=b:c").path == "a=b:c"
    assert parse_dataset("image-folder:faces?labels=a:real,b:fake").options == {"labels": "a:real,b:fake"}
    assert parse_dataset(f"drawn=sample:{tmp_path / 'kept'}").name == "drawn"
    for text in ("gone", "strange:faces", "image-folder:gone", "image-folder:faces?colour=red", "csv:gone.csv"):
        with pytest.raises(TrainingDataError):
            parse_dataset(text)


def test_a_report_survives_the_round_trip_and_undefined_is_null(tmp_path):
    row = Measurement(
        detector="x", backend="torch", scenario="accuracy", status="measured", metrics={"auc": float("nan"), "eer": 0.1}
    )
    report = make_report([row])
    report.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["measurements"][0]["metrics"] == {"auc": None, "eer": 0.1}
    assert Report.model_validate_json((tmp_path / "report.json").read_bytes()) == report


def test_the_schema_describes_every_field():
    described = schema()
    assert described["properties"]["schema_version"]["const"] == 1
    assert {"Measurement", "Machine", "SourceAccuracy", "TargetCheck", "Estimate"} <= set(described["$defs"])
