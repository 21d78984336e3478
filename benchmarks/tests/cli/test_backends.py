"""``dfbench backends``, and ``--backend openvino``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.dataset import PLUMBING
from deepfake_core.runtimes.cpu_contention import CpuContention

PORTRAIT = Path(__file__).parents[3] / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("tiny")
def test_every_backend_that_is_installed_is_timed_and_one_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    done = invoke("backends", "tiny", "--threads", "1", "--format", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["threads"] == 1
    assert found["timings"][0]["backend"] == "onnxruntime"
    assert sum(row["taken"] for row in found["timings"]) == 1
    assert all(row["ms"] > 0 and row["difference"] < 1e-4 and row["version"] for row in found["timings"])
    # What is remembered is shown again, to the digit, until it is to be measured anew.
    assert json.loads(invoke("backends", "tiny", "--threads", "1", "--format", "json").stdout) == found
    anew = json.loads(invoke("backends", "tiny", "--threads", "1", "--format", "json", "--again").stdout)
    assert [row["ms"] for row in anew["timings"]] != [row["ms"] for row in found["timings"]]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("share", "said"), [(None, ""), (0.05, ""), (0.23, "other work used 23 % of the processors")])
def test_a_busy_machine_is_told_beside_the_times(tmp_path, monkeypatch, share, said):
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    monkeypatch.setattr(CpuContention, "share", lambda self: share)
    done = invoke("backends", "tiny", "--threads", "1")
    assert said in done.stderr
    assert ("dfbench backends --again" in done.stderr) == bool(said)
    kept = json.loads(invoke("backends", "tiny", "--threads", "1", "--format", "json").stdout)
    assert {row["others_share"] for row in kept["timings"]} == {share}


@pytest.mark.usefixtures("tiny")
def test_by_default_every_detector_with_weights_is_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    done = invoke("backends")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["detector", "backend", "version", "ms", "difference", "note"]
    assert "tiny" in {row[0] for row in rows[1:]}
    assert not {"bare", "from-hub"} & {row[0] for row in rows[1:]}


@pytest.mark.openvino
def test_judged_by_openvino(tiny):
    answers = [
        json.loads(invoke("predict", PORTRAIT, "--detector", tiny, "--backend", name, "--format", "jsonl").stdout)
        for name in ("onnxruntime", "openvino")
    ]
    assert answers[0]["p_fake"] == pytest.approx(answers[1]["p_fake"], abs=1e-4)


@pytest.mark.torch
def test_the_table_of_exports_is_made_by_one_command_and_gone_on_with(tmp_path):
    pytest.importorskip("deepfake_lite")
    done = invoke("parity", "lite", "--format", "pt2", "--out", tmp_path, "--keep", tmp_path / "files")
    assert done.exit_code == 0, done.output
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("lite")]
    assert row.split()[:4] == ["lite", "trained", "pt2", "fp32"]
    assert "absent" not in done.stdout
    assert "| lite | trained | pt2 | fp32 |" in (tmp_path / "PARITY.md").read_text()
    written = (tmp_path / "parity.json").read_bytes()
    again = invoke("parity", "lite", "--format", "pt2", "--out", tmp_path)
    assert again.stdout == done.stdout
    assert (tmp_path / "parity.json").read_bytes() == written
    assert "unknown format 'caffe'" in invoke("parity", "lite", "--format", "caffe", "--out", tmp_path).stderr
    assert "name their folder with --keep" in invoke("parity", "lite", "--only-speed", "--out", tmp_path).stderr
    faster = invoke("parity", "lite", "--only-speed", "--out", tmp_path, "--keep", tmp_path / "files")
    assert faster.exit_code == 0, faster.output
    (before,), (after,) = (json.loads(text)["cells"] for text in (written, (tmp_path / "parity.json").read_bytes()))
    assert before["ms"] != after["ms"]
    assert before | {"ms": 0, "ratio": 0, "others_share": 0} == after | {"ms": 0, "ratio": 0, "others_share": 0}


@pytest.mark.torch
def test_too_few_labelled_pictures_are_told_once_for_all_exports(monkeypatch, tmp_path):
    from deepfake_exports import table
    from deepfake_exports.request import OFFERED

    pytest.importorskip("deepfake_lite")
    absent = {"version": "1", "weights": "trained", "reason": "not exported here"}
    monkeypatch.setattr(table, "cell", lambda _, format, precision, **__: table.Cell(
        "lite", format=format, precision=precision, **absent))  # fmt: skip
    done = invoke("parity", "lite", "--format", "onnx", "--data", PLUMBING.path, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("not exported here") == len(OFFERED["onnx"])
    assert done.stderr.count("warning: ") == 1
    assert f"warning: lite, {PLUMBING.path}: on 12 real and 12 fake pictures" in done.stderr
