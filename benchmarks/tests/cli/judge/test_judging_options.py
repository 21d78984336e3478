"""Standard input and limits as options of the commands that judge."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest
from media import PORTRAIT
from PIL import Image
from typer.testing import CliRunner

import deepfake_core as df
from deepfake_bench.cli import app
from deepfake_core.inputs.reading import memory


@pytest.fixture
def invoke(tiny):
    """Run a command in this process: ``invoke("predict", …)``."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def sheet(tmp_path):
    """A picture with six faces."""
    with Image.open(PORTRAIT) as portrait:
        face = portrait.convert("RGB").crop((128, 0, 384, 256))
    picture = Image.new("RGB", (768, 512))
    for place in range(6):
        picture.paste(face, (place % 3 * 256, place // 3 * 256))
    picture.save(tmp_path / "six.png")
    return tmp_path / "six.png"


def results_of(invoke, *arguments):
    done = invoke("predict", *arguments, "--detector", "tiny", "--format", "jsonl")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_max_faces(invoke, sheet, tmp_path):
    (everyone,), (few,) = results_of(invoke, sheet), results_of(invoke, sheet, "--max-faces", 2)
    assert (len(everyone["faces"]), everyone["faces_left_out"]) == (6, 0)
    assert (len(few["faces"]), few["faces_left_out"]) == (2, 4)
    assert few["verdict"] != "real"
    assert few["warnings"] == ["4 of 6 faces were left out, the smallest: max_faces=2"]
    done = invoke("predict", sheet, "--max-faces", 2, "--detector", "tiny", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row["faces_left_out"] == "4"
    assert "4 of 6 faces" in row["warnings"]
    done = invoke("explain", sheet, "--max-faces", 2, "--detector", "tiny", "--method", "occlusion", "--out", tmp_path)
    assert len(done.stdout.splitlines()) == 2
    assert "4 of 6 faces were left out" in done.stderr
    assert invoke("predict", sheet, "--max-faces", 0, "--detector", "tiny").exit_code == 2


def test_max_pixels(invoke, sheet, tmp_path, monkeypatch):
    (refused,) = results_of(invoke, sheet, "--max-pixels", 768 * 512 - 1)
    assert "more than the limit of 393,215; reduce it, or raise max_pixels" in refused["error"]
    assert not results_of(invoke, sheet, "--max-pixels", 768 * 512)[0]["error"]
    done = invoke("explain", sheet, "--max-pixels", 1000, "--detector", "tiny", "--out", tmp_path / "out")
    assert done.exit_code == 3
    assert "limit of 1,000" in done.stderr
    monkeypatch.setenv("DEEPFAKE_MAX_PIXELS", "1000")
    assert "limit of 1,000" in results_of(invoke, sheet)[0]["error"]
    monkeypatch.setenv("DEEPFAKE_MAX_PIXELS", "lots")
    done = invoke("predict", sheet, "--detector", "tiny")
    assert done.exit_code == 2
    assert "DEEPFAKE_MAX_PIXELS is 'lots'; it must be a whole number" in done.stderr


def test_standard_input(environment, tiny):
    arguments = ["predict", "-", "gone.jpg", "--detector", "tiny", "--format", "csv"]
    empty = CliRunner().invoke(app, arguments, input=b"")
    command = [sys.executable, "-m", "deepfake_bench", *arguments]
    done = subprocess.run(command, input=PORTRAIT.read_bytes(), capture_output=True, env=environment, check=False)
    (judged, missing), (nothing, _) = (csv.DictReader(io.StringIO(out)) for out in (done.stdout.decode(), empty.stdout))
    with df.load("tiny") as detector:
        expected = detector.predict(PORTRAIT)
    assert (judged["source"], judged["p_fake"]) == ("<stdin>", f"{expected.p_fake:.6f}")
    assert missing["verdict"] == "error"
    assert (nothing["source"], nothing["error"]) == (
        "<stdin>",
        "no bytes at all; pass the content of one picture or video",
    )
    assert (done.returncode, empty.exit_code) == (0, 3)


def test_standard_input_that_cannot_be_read(invoke, monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    from deepfake_bench.cli.judge.standard_input import opened
    from deepfake_core.errors import DeepfakeError, InputError

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    with pytest.raises(DeepfakeError, match="standard input is a terminal"):
        opened("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DeepfakeError, match="standard input is closed"):
        opened("-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(3000))))
    monkeypatch.setattr(memory, "MAX_BYTES", 2000)
    with pytest.raises(InputError, match="save it to a file, and pass its path"):
        opened("-")
    assert opened("./-") == "./-"
