"""Mistakes of new users: each gets one line that says what is wrong and what to do, and no traceback."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from layouts import write
from media import PORTRAIT
from mini_sets import jpeg, pictures
from typer.testing import CliRunner, Result

from deepfake_bench.cli import app
from deepfake_registry.errors import DeepfakeError
from deepfake_registry.files import check_writable

NOT_FETCHED = "is an address, and addresses are not fetched; download it first, then name "
NO_STDIN = "-: standard input is not read here; name a file or folder"
NO_DATASET = "gone: no such file or folder; name an existing one, or write NAME:PATH"
NO_DEVICE = "unknown device 'gpu'; use auto, cpu, cuda, cuda:N or mps"
UNWRITABLE = r"photo.jpg/.*: cannot be written \(Not a directory\); .*, or name another place"

ANSWERS = {
    # ── inputs: explain and protect say on standard error what predict puts into its table
    "explain gone.jpg --detector tiny --out o": (3, "gone.jpg: no such file; check the path"),
    "explain text.jpg --detector tiny --out o": (3, "text.jpg: not a picture that can be read: looks like a text file"),
    "explain empty.jpg --detector tiny --out o": (3, r"empty.jpg: is empty \(0 bytes\); get the file again"),
    "explain void --detector tiny --out o": (3, "void: is a folder; name a file in it"),
    "explain '*.gif' --detector tiny --out o": (3, "no file matches this pattern; check the path"),
    "explain ' photo.jpg' --detector tiny --out o": (3, "without the blanks .* there is one"),
    "explain https://a.org/p.jpg?x=1 --detector tiny --out o": (3, f"https://a.org/p.jpg.x=1: {NOT_FETCHED}p.jpg"),
    "explain file:///a.jpg --detector tiny --out o": (3, "is a file: address; pass the path in it"),
    "explain - --detector tiny --out o": (3, "<stdin>: no bytes at all; pass the content of one picture or video"),
    "explain photo.jpg --detector tiny --out photo.jpg": (2, "photo.jpg: cannot be made .*; name another folder"),
    "explain photo.jpg --detector tiny --out o --method gradcm": (2, "unknown explainer 'gradcm'; installed: .*gradca"),
    "predict photo.jpg --detector tiny --explain photo.jpg": (2, "photo.jpg: cannot be made .*; name another folder"),
    "protect photo.jpg --out o --detector tiny": (2, "detector 'tiny' is no protector"),
    "protect photo.jpg --out o --epsilon 3": (2, "epsilon must be above 0 and at most 1, got 3.0; 0.03 is the default"),
    # ── names of detectors, and files of models
    "predict photo.jpg --detector tny": (2, "unknown detector 'tny'; did you mean 'tiny'?"),
    "predict photo.jpg --detector broken": (2, "plugin 'broken' .*ImportError: half of it is missing"),
    "predict photo.jpg --detector bare": (2, "'bare' comes without weights here; train it: dfbench train bare"),
    "predict photo.jpg --detector from-hub": (2, "from-hub: someone/faces is not in .*; use --download"),
    "predict photo.jpg --detector tiny@production": (2, "tiny@production: not in the registry .*; models: none"),
    "predict photo.jpg --detector gone.onnx": (2, "gone.onnx: no such file; check the path"),
    "predict photo.jpg --detector gone/": (2, "gone: no such file; check the path"),
    "predict photo.jpg --detector ./photo.jpg": (2, "photo.jpg: not a model file; expected a package folder or one of"),
    "predict photo.jpg --detector void/": (2, "void: not a packaged model .*; name the folder of an export or a run"),
    "predict photo.jpg --detector text.onnx": (2, "text.onnx: .*not a readable ONNX|text.onnx: .*; write it with"),
    "predict photo.jpg --detector https://a.org/m.onnx": (2, f"https://a.org/m.onnx: {NOT_FETCHED}m.onnx"),
    "predict photo.jpg --detector -": (2, NO_STDIN),
    "predict photo.jpg --detector m.onnx --weights me/you": (2, "weights go with the name of a detector"),
    "export tny --out m.onnx": (2, "unknown detector 'tny'; did you mean 'tiny'?"),
    "export https://a.org/m.onnx --out m.onnx": (2, f"https://a.org/m.onnx: {NOT_FETCHED}m.onnx"),
    "run --detector tny": (2, "unknown detector 'tny'; did you mean 'tiny'?"),
    "run --detector https://a.org/m.onnx": (2, f"https://a.org/m.onnx: {NOT_FETCHED}m.onnx"),
    "recipes tny": (2, "unknown detector 'tny'; did you mean 'tiny'?"),
    "train tny --data set --run-dir r": (2, "unknown detector 'tny'; did you mean 'tiny'?"),
    # ── devices and backends
    "predict photo.jpg --detector tiny --device gpu": (2, NO_DEVICE),
    "run --detector tiny --device gpu": (2, NO_DEVICE),
    "predict photo.jpg --detector tiny --backend torch": (2, "backend 'torch' needs a .safetensors file, and there is"),
    # ── datasets, their folders and labels
    "data check gone": (2, NO_DATASET),
    "data check -": (2, NO_STDIN),
    "data check https://a.org/set.zip": (2, f"https://a.org/set.zip: {NOT_FETCHED}set.zip"),
    "data check image-folder:https://a.org/set.zip": (2, f"https://a.org/set.zip: {NOT_FETCHED}set.zip"),
    "data check void": (2, "void: no class folders; expected .*fake/real"),
    "data check animals": (2, "folder 'cats' is no known class; .*labels=cats:fake.real,dogs:fake.real"),
    "data check photo.jpg": (2, "photo.jpg: its layout is not recognised; write NAME:photo.jpg with one of"),
    "data check nope:set": (2, "unknown dataset layout 'nope'; installed: .*image-folder"),
    "data check image-folder:set?lables=a:fake": (2, "image-folder has no option 'lables'; did you mean 'labels'?"),
    "data check csv:notes.csv": (2, r"notes.csv: .*path.*label"),
    "run --detector tiny --dataset gone": (2, NO_DATASET),
    "run --detector tiny --dataset -": (2, NO_STDIN),
    # ── options that need others, and places that cannot be written
    "run --detector tiny --resume": (2, "--resume continues the run in a folder: name the folder with --out"),
    "run --detector tiny --out photo.jpg": (2, UNWRITABLE),
    "run --detector tiny --json photo.jpg/r.json": (2, UNWRITABLE),
    "run --detector tiny --html photo.jpg/r.html": (2, UNWRITABLE),
    "export tiny --out photo.jpg/m.onnx": (2, UNWRITABLE),
    "export tiny --out set": (2, "set: holds other files, and no packaged model; name a new or an empty folder"),
    "export tiny --out m.pt": (2, "m.pt: a file of the format onnx ends in .onnx; name it m.onnx, .* torchscript"),
    "export tiny --out m.onnx --format onx": (2, "unknown export format 'onx'; did you mean 'onnx'?"),
    "export tiny --out m.onnx --precision int4": (2, "the format onnx has no precision 'int4'; choose one of fp32,"),
    "export tiny --out m.pt2 --format pt2 --precision int8": (2, "choose one of fp32, or the format onnx or openvino"),
    "export tiny --out m.onnx --precision int8": (2, "int8 is tuned and checked on labelled pictures; .* --data"),
    "export tiny --out m.onnx --precision int8 --data gone": (2, NO_DATASET),
    "data manifest set --out photo.jpg/m.csv": (2, UNWRITABLE),
    # ── reports, scores, runs and the registry
    "report gone.json": (2, "gone.json: no such file; check the path"),
    "report tiny": (2, "tiny: is the name of a detector, not a report; measure it: dfbench run --detector tiny"),
    "report set": (2, "set: is a folder; name a file that dfbench run --json FILE wrote"),
    "report measured": (2, "measured: is a folder; name the report in it: measured/report.json"),
    "report photo.jpg": (2, "photo.jpg: not a benchmark report .*; write one: dfbench run --json FILE"),
    "leaderboard -": (2, NO_STDIN),
    "leaderboard https://a.org/r.json": (2, f"https://a.org/r.json: {NOT_FETCHED}r.json"),
    "compare tiny bare": (2, "two reports of the same detectors; .* dfbench leaderboard .* dfbench scores versus"),
    "compare measured/report.json other.json": (2, "lite and other are different detectors; .* leaderboard"),
    "scores versus gone.csv gone.csv": (2, "gone.csv: cannot be read .*; name an existing CSV file"),
    "scores versus https://a.org/a.csv b.csv": (2, f"https://a.org/a.csv: {NOT_FETCHED}a.csv"),
    "runs list gone": (2, "gone: no such folder; name the folder that holds the runs"),
    "registry push set": (2, "set: not a packaged model .*; name the folder of an export or a run"),
    "registry show nope": (2, "nope: not in the registry"),
    "registry alias tiny@9 production --reason x": (2, "tiny@9: not in the registry .*; models: none"),
    "promote tiny@9 --to production --report measured/report.json": (2, "tiny@9: not in the registry .*; models: none"),
}  # fmt: skip


@pytest.fixture
def here(tiny, tmp_path, monkeypatch, measured, report_of) -> Path:
    """A working folder with what the command lines name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    pictures(tmp_path / "set", 1)
    (tmp_path / "void").mkdir()
    write(
        tmp_path,
        {
            "photo.jpg": PORTRAIT.read_bytes(),
            "text.jpg": "some words\n",
            "text.onnx": "some words\n",
            "empty.jpg": b"",
            "notes.csv": "a,b\n1,2\n",
            "animals/cats/1.jpg": jpeg(1),
            "animals/dogs/1.jpg": jpeg(2),
        },
    )
    for file, detector in (("measured/report.json", "lite"), ("other.json", "other")):
        report_of(measured(detector=detector, samples={"latency_ms": [10.0] * 30})).write(tmp_path / file)
    return tmp_path


def invoke(line: str) -> Result:
    return CliRunner().invoke(app, shlex.split(line))


@pytest.mark.parametrize("line", ANSWERS)
def test_a_mistake_gets_one_line_with_cause_and_remedy(here, line):
    status, words = ANSWERS[line]
    before = {path for path in here.rglob("*") if path.is_file()}
    done = invoke(line)
    assert done.exit_code == status, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    (said,) = done.stderr.splitlines()
    assert said.startswith("dfbench: ")
    assert re.search(words, said), said
    assert {path for path in here.rglob("*") if path.is_file()} == before, "nothing is left behind"


def test_predict_puts_the_answer_into_its_table(here):
    done = invoke("predict https://a.org/p.jpg photo.jpg --detector tiny --format csv")
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"{NOT_FETCHED}p.jpg" in done.stdout


@pytest.mark.parametrize("line", ["predict photo.jpg", "explain photo.jpg --out o", "run", "train lite --data set"])
@pytest.mark.torch
def test_a_missing_gpu_is_named_alike_by_every_command(here, monkeypatch, line):
    torch = pytest.importorskip("torch")
    pytest.importorskip("deepfake_lite")
    monkeypatch.delenv("DEEPFAKE_BACKEND", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    done = invoke(f"{line} --device cuda")
    assert done.exit_code == 2, done.output
    said = "dfbench: device 'cuda': torch sees 0 CUDA devices; use device='cpu' (--device cpu)"
    assert done.stderr.splitlines()[-1] == said


@pytest.mark.parametrize(
    ("free", "words"), [(10**6, "needs 8 MB, and the disk has 1 MB left; free space"), (10**9, "")]
)
def test_a_full_disk_is_noticed_before_the_work(here, monkeypatch, free, words):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    if not words:
        check_writable(here / "new" / "m.onnx", needs_bytes=8 * 10**6)
        return
    with pytest.raises(DeepfakeError, match=words):
        check_writable(here / "new" / "m.onnx", needs_bytes=8 * 10**6)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the folder is one of Linux")
def test_a_read_only_place_is_noticed_before_the_work(here):
    assert "/proc/m.onnx: cannot be written" in invoke("export tiny --out /proc/m.onnx").stderr
