"""``dfbench`` as a user meets it: output, exit statuses, odd names, interruption."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nasty import write_nasty_folder
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.cli.models import model_of
from deepfake_bench.printable import printable
from deepfake_bench.records.dataset import DATA
from deepfake_bench.runner.plan import split_by_weights

PORTRAIT = DATA / "portrait.jpg"
HEAVY = ("torch", "transformers", "timm", "onnxruntime", "cv2", "numpy", "PIL", "av", "rich")


@pytest.fixture
def invoke(tiny):
    """Run a command in this process: ``invoke("predict", …)``."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["predict", "--help"], ["--version"]])
def test_start_up_imports_nothing_heavy(arguments, environment):
    code = (
        "import sys\nfrom deepfake_bench.cli import main\n"
        f"sys.argv = ['dfbench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_list_shows_detectors_weights_datasets_explainers_and_failed_plugins(dfbench, site):
    listing = json.loads(dfbench("list", "--format", "json").stdout)
    found = {entry["name"]: entry for entry in listing["detectors"]}
    assert found["tiny"]["distribution"] == "tiny-plugin"
    (model,) = (site / "tiny_plugin_data" / "weights").glob("*.onnx")
    assert found["tiny"]["weights"] == {"status": "trained", "version": "1", "bytes": model.stat().st_size}
    assert found["bare"]["weights"] == {"status": "none"}
    assert found["bare"]["kind"] == "image"
    assert {"broken"} <= {entry["name"] for entry in listing["failed"]}
    assert {"image-folder", "sample"} <= {entry["name"] for entry in listing["datasets"]}
    assert {"evidence", "gradcam"} <= {entry["name"] for entry in listing["explainers"]}
    table = dfbench("list").stdout.decode()
    rows = {line.split()[0]: line for line in table.splitlines() if line}
    assert "trained 1, 0.0 MB" in rows["tiny"]
    assert "brightness of the face" in rows["tiny"]
    assert "none: untrained" in rows["bare"]
    assert rows["image-folder"].split()[1] == "deepfake-core"
    assert "half of it is missing" in table


def test_list_tells_whether_the_hub_cache_holds_a_repository(dfbench, tmp_path):  # 000-4
    def row() -> dict:
        listing = json.loads(dfbench("list", "--format", "json", env={"HF_HUB_CACHE": str(tmp_path)}).stdout)
        return next(entry["weights"] for entry in listing["detectors"] if entry["name"] == "from-hub")

    empty = {"version": None, "bytes": None, "repository": "someone/faces"}
    assert row() == {"status": "not cached", **empty}
    shown = dfbench("list", env={"HF_HUB_CACHE": str(tmp_path), "COLUMNS": "300"}).stdout.decode()
    assert "someone/faces, not in the Hugging Face cache" in shown
    commit = "0123456789abcdef" * 2 + "01234567"
    folder = tmp_path / "models--someone--faces"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    assert row()["status"] == "not cached"  # its weights are still missing
    (folder / "snapshots" / commit / "model.safetensors").write_bytes(b"12345")
    assert row() == {"status": "cached", "version": commit[:12], "bytes": 5, "repository": "someone/faces"}
    shown = dfbench("list", env={"HF_HUB_CACHE": str(tmp_path), "COLUMNS": "300"}).stdout.decode()
    assert f"someone/faces {commit[:12]}, 0.0 MB, in the Hugging Face cache" in shown


def test_list_says_where_weights_outside_of_packages_lie(invoke, site, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")

    def row() -> dict:
        listing = json.loads(invoke("list", "--format", "json").stdout)
        return next(entry["weights"] for entry in listing["detectors"] if entry["name"] == "bare")

    assert row() == {"status": "none"}
    (model,) = (site / "tiny_plugin_data" / "weights").glob("*.onnx")
    place = tmp_path / "bare.onnx"
    place.write_bytes(model.read_bytes())
    size = place.stat().st_size
    assert row() == {"status": "trained", "version": "1", "bytes": size, "path": str(place)}
    assert f"trained 1, {size / 1e6:.1f} MB, {place}" in invoke("list").stdout
    assert split_by_weights(["bare", "tiny", str(place)]) == (["bare", "tiny", str(place)], [])
    assert json.loads(invoke("list", "--format", "json").stdout)["ensembles"] == []
    (tmp_path / "best").mkdir()
    assert json.loads(invoke("list", "--format", "json").stdout)["ensembles"][0]["path"] == str(tmp_path / "best")
    assert f"ensemble best: {tmp_path / 'best'}" in invoke("list").stdout
    assert model_of("best") == str(tmp_path / "best")
    assert model_of("bare") == "bare"
    place.write_bytes(b"torn")
    assert row() == {"status": "damaged", "path": str(place)}


def test_predict_table_says_verdict_score_and_box(invoke):
    done = invoke("predict", PORTRAIT, "--detector", "tiny")
    assert done.exit_code == 0
    head, row, _, scale = done.stdout.splitlines()
    assert head.split() == ["file", "verdict", "P(fake)", "faces", "box"]
    assert row.split()[1:4] == ["fake", "82.1%", "1"]
    assert re.fullmatch(r"tiny \S+: fake from 50\.0%, real below; close to it let a person look\.", scale)


def test_predict_formats_agree(invoke):
    options = (PORTRAIT, PORTRAIT.parent / "README.md", "--detector", "tiny", "--format")
    lines = [json.loads(line) for line in invoke("predict", *options, "jsonl").stdout.splitlines()]
    array = json.loads(invoke("predict", *options, "json").stdout)
    rows = list(csv.DictReader(io.StringIO(invoke("predict", *options, "csv").stdout)))
    for line, element, row in zip(lines, array, rows, strict=True):
        assert {**line, "timings_ms": 0} == {**element, "timings_ms": 0}
        assert row["source"] == line["source"]
        assert row["verdict"] == line["verdict"]
        assert row["error"] == line["error"]
        assert (row["p_fake"] == "") == (line["p_fake"] is None)
    assert [row["verdict"] for row in rows] == ["fake", "error"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((PORTRAIT,), 0),
        ((PORTRAIT, "missing.jpg"), 0),
        (("missing.jpg",), 3),
        ((DATA / "README.md",), 3),
        ((), 2),
        ((PORTRAIT, "--format", "xml"), 2),
        ((PORTRAIT, "--backend", "gpu"), 2),
        ((PORTRAIT, "--detector", "tinny"), 2),
        ((PORTRAIT, "--detector", "bare"), 2),
        ((PORTRAIT, "--explain", DATA / "README.md" / "inside"), 2),
        ((PORTRAIT, "--explain", "out", "--method", "tea-leaves"), 2),
    ],
)
def test_predict_exit_status(invoke, arguments, status):
    detector = () if "--detector" in arguments else ("--detector", "tiny")
    assert invoke("predict", *arguments, *detector).exit_code == status


def test_an_empty_folder_is_said_to_be_empty(invoke, tmp_path):
    done = invoke("predict", tmp_path, "--detector", "tiny")
    assert done.exit_code == 3
    assert "is a folder; name a file in it" in done.stdout
    both = invoke("predict", tmp_path, PORTRAIT, "--detector", "tiny", "--format", "jsonl")
    assert [json.loads(line)["verdict"] == "error" for line in both.stdout.splitlines()] == [True, False]


def test_an_error_is_one_line_and_debug_shows_the_traceback(dfbench):
    plain = dfbench("predict", "x.jpg", "--detector", "tinny")
    assert plain.returncode == 2
    assert plain.stderr.decode() == "dfbench: unknown detector 'tinny'; did you mean 'tiny'?\n"
    assert b"Traceback" in dfbench("--debug", "predict", "x.jpg", "--detector", "tinny").stderr


def test_timings_account_for_all_of_the_time(invoke):
    done = invoke("predict", PORTRAIT, "--detector", "tiny", "--timings")  # 000-2, 000-6, 000-8
    rows = [line.rsplit(maxsplit=2) for line in done.stderr.splitlines() if line.endswith("%")]
    stages = {stage: numbers for stage, *numbers in rows}
    assert list(stages) == [
        "import", "device", "cache", "choice", "load", "transfer",
        "image load", "faces", "preprocess", "inference", "results", "other", "total",
    ]  # fmt: skip
    parts = [float(value[0]) for name, value in stages.items() if name != "total"]
    assert sum(parts) == pytest.approx(float(stages["total"][0]), abs=1e-3)
    assert "cpu (onnxruntime)" in done.stderr
    row = done.stderr.splitlines()[-1]
    assert all(part in row for part in ("512×512", "RGB", "1.5230", "82.10%", "fake"))


def test_explain_writes_one_safe_name_for_each_judged_file(invoke, tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    names = ["x..%2f..jpg", "-rf $HOME.jpg", "ü\n\x1b[2J.jpg", "a" * 120 + ".jpg"]
    for name in names:
        (inside / name).write_bytes(PORTRAIT.read_bytes())
    (inside / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "deep" / "out"
    assert invoke("predict", inside, "--detector", "tiny", "--explain", out).exit_code == 0
    written = sorted(path.name for path in out.iterdir())
    assert len(written) == len(names)
    assert all(name.isascii() and name.isprintable() and name.endswith(".png") for name in written)
    assert {path.name for path in tmp_path.rglob("*")} == {"in", "deep", "out", "broken.jpg", *names, *written}


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes as a name")
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_names_that_are_no_text_or_steer_a_terminal(dfbench, tmp_path, form, locale):
    names = [b"\xff\xfe.jpg", b"\x1b]0;owned\x07\x1b[31m.jpg", "\u202egpj.exe.jpg".encode(), "人脸 😀.jpg".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(PORTRAIT.read_bytes())
    settings = {"LC_ALL": locale, "PYTHONIOENCODING": "ascii" if locale == "C" else "utf-8"}
    done = dfbench("predict", tmp_path, "--detector", "tiny", "--format", form, env=settings)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    if form == "csv":  # a file: names as they are, as far as the encoding goes
        assert len(list(csv.reader(io.StringIO(done.stdout.decode(errors="surrogateescape"))))) == 1 + len(names)
        return
    assert b"\x1b" not in done.stdout
    assert "\u202e".encode() not in done.stdout
    if form == "json":
        shown = {Path(row["source"]).name for row in json.loads(done.stdout)}
        assert shown == {
            name.decode(errors="surrogateescape").encode(errors="backslashreplace").decode() for name in names
        }


def test_printable_keeps_text_and_escapes_the_rest():
    assert printable("café 人脸 a[b].jpg") == "café 人脸 a[b].jpg"
    assert printable("a\x1b[31m\n\x9b\u202e\udcff\u2028") == "a\\x1b[31m\\x0a\\x9b\\u202e\\xff\\u2028"


def test_thirty_nasty_files_give_thirty_rows(dfbench, tmp_path):
    assert len(write_nasty_folder(tmp_path)) == 30
    done = dfbench("predict", tmp_path, PORTRAIT, "--detector", "tiny", "--format", "jsonl")
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 30 + 1
    assert all(row["error"] for row in rows if row["verdict"] == "error")
    table = dfbench("predict", tmp_path, "--detector", "tiny")
    assert table.returncode == 3  # none of them shows a face
    *rows, empty, counts = table.stdout.decode().splitlines()
    assert (len(rows), empty) == (1 + 30, "")
    assert re.fullmatch(r"30 files: \d+ without a face, \d+ errors", counts)
    for process in (done, table):
        assert b"Traceback" not in process.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize(("form", "name"), [("jsonl", "SIGINT"), ("json", "SIGINT"), ("csv", "SIGKILL")])
def test_what_was_printed_survives_an_interruption(environment, form, name):
    command = [sys.executable, "-m", "deepfake_bench", "predict", *[str(PORTRAIT)] * 400, "--detector", "tiny"]
    with subprocess.Popen(
        [*command, "--format", form], bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        first = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.Signals[name])
        rest, said = process.communicate(timeout=30)
    output = (first + rest).decode()
    if name == "SIGINT":
        assert process.returncode == 130
        assert said.decode() == "dfbench: interrupted\n"
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(output)))
    else:
        rows = json.loads(output) if form == "json" else [json.loads(line) for line in output.splitlines()]
    assert 1 <= len(rows) < 400
    assert rows[0]["verdict"] == "fake"


def test_a_closed_pipe_is_not_an_error_message(environment):
    command = [sys.executable, "-m", "deepfake_bench", "predict", *[str(PORTRAIT)] * 40, "--detector", "tiny"]
    with subprocess.Popen(
        [*command, "--format", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_ensemble_is_made_judges_and_is_measured_like_any_detector(invoke, tmp_path):
    pytest.importorskip("deepfake_lite")
    folder = tmp_path / "pair"
    done = invoke("ensemble", "tiny", "lite", "--out", folder, "--name", "pair")
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["member", "tiny", "lite", "wrote"]
    assert f"--detector {folder}/" in done.stdout
    (result,) = json.loads(invoke("predict", PORTRAIT, "--detector", f"{folder}/", "--format", "json").stdout)
    assert result["detector"].startswith("pair ")
    assert 0 < result["faces"][0]["spread"] < 1
    table = invoke("predict", PORTRAIT, "--detector", f"{folder}/").stdout.splitlines()
    assert table[0].split() == ["file", "verdict", "P(fake)", "spread", "faces", "box"]
    report = tmp_path / "report.json"
    arguments = ("--scenario", "single_stream", "--scenario", "accuracy", "--seconds", "0.05", "--json", report)
    assert invoke("run", "--detector", f"{folder}/", *arguments).exit_code == 0
    rows = json.loads(report.read_text())["measurements"]
    assert [(row["status"], row["weights"], row["backend"]) for row in rows] == [
        ("measured", "trained", "ensemble")
    ] * 2
    assert len(rows[0]["artefact_sha256"]) == 64
    assert "64×64 and 224×224" in rows[0]["conditions"]["latency_ms"]


def test_an_ensemble_is_fitted_on_any_layout_and_says_how_well(invoke, tmp_path):
    labelled = tmp_path / "faces.csv"
    paths = sorted((DATA / "plumbing" / "real").iterdir())
    rows = [f"{path},{('real', 'fake')[index % 2]}" for index, path in enumerate(paths)]
    labelled.write_text("path,label\n" + "\n".join(rows) + "\n")
    second = tmp_path / "again.onnx"
    second.write_bytes((Path(__file__).parents[1] / "tiny.onnx").read_bytes())
    refused = invoke("ensemble", "tiny", second, "--data", f"csv:{labelled}", "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "is there twice" in refused.stderr
    pytest.importorskip("deepfake_lite")
    done = invoke("ensemble", "tiny", "lite", "--data", f"csv:{labelled}", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "AUC of the ensemble on 12 faces of 12 groups" in done.stdout
    assert "labels: 'real' → real (6), 'fake' → fake (6)" in done.stdout
    stored = json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert sum(stored["weights"]) == pytest.approx(1)
    assert stored["calibration"]["fitted_on"].endswith(": 12 faces")


@pytest.mark.parametrize("members", [["tiny"], ["tiny", "tiny"], ["tiny", "tinny"], ["tiny", "bare"]])
def test_members_that_make_no_ensemble_are_one_line(invoke, tmp_path, members):
    done = invoke("ensemble", *members, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.startswith("dfbench: ")
    assert not (tmp_path / "out").exists()
