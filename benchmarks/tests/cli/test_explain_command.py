"""``dfbench explain``: a picture for each face, whatever the files are like."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from nasty import write_nasty_folder
from PIL import Image
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.cli.judge import explanations
from deepfake_bench.records.dataset import DATA
from deepfake_core.errors import DeepfakeError

PORTRAIT = DATA / "portrait.jpg"


@pytest.fixture
def invoke(tiny):
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def explain(invoke, *arguments):
    return invoke("explain", *arguments, "--detector", "tiny")


@pytest.mark.parametrize("method", ["evidence", "occlusion"])
def test_one_picture_for_each_face(invoke, tmp_path, method):  # 001-21
    face = Image.open(PORTRAIT)
    pair = Image.new("RGB", (2 * face.width, face.height))
    for column in range(2):
        pair.paste(face, (column * face.width, 0))
    pair.save(tmp_path / "pair.png")
    done = explain(invoke, tmp_path / "pair.png", PORTRAIT, "--method", method, "--out", tmp_path / "deep" / "out")
    assert done.exit_code == 0, done.output
    names = [f"0001-pair-{method}.png", f"0001-pair-face2-{method}.png", f"0002-portrait-{method}.png"]
    assert done.stdout.split() == [str(tmp_path / "deep" / "out" / name) for name in names]
    said = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(said) == 3
    assert all(re.fullmatch(r"  (fake|real|unsure): [A-Z].*\.", line) for line in said)
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == sorted(names)


def test_the_default_runs_on_the_model_file_alone(invoke, tmp_path):
    assert explain(invoke, PORTRAIT, "--out", tmp_path).exit_code == 0
    assert explain(invoke, PORTRAIT, "--out", tmp_path, "--target", "real").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0001-portrait-evidence.png",  # the detector's own
        "0001-portrait-occlusion-real.png",  # evidence cannot show it, and there is no network for GradCAM
    ]


def test_predict_names_what_it_wrote(invoke, tmp_path, monkeypatch):
    done = invoke("predict", PORTRAIT, "--detector", "tiny", "--explain", tmp_path, "--format", "json")
    assert json.loads(done.stdout)[0]["verdict"] in {"fake", "real", "unsure"}
    file, sentence = done.stderr.splitlines()
    assert file == str(tmp_path / "0001-portrait-evidence.png")
    assert sentence.startswith("  ")
    monkeypatch.setattr(explanations, "LISTED", 1)
    done = invoke("predict", PORTRAIT, PORTRAIT, "--detector", "tiny", "--explain", tmp_path)
    assert done.stderr.splitlines() == [f"2 explanations are in {tmp_path}"]


def test_bad_files_are_named_and_take_nothing_else_down(invoke, tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    write_nasty_folder(inside)
    (inside / "good.jpg").write_bytes(PORTRAIT.read_bytes())
    Image.new("RGB", (200, 200)).save(inside / "faceless.png")
    done = explain(invoke, inside, "--method", "evidence", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert any("-good-" in line for line in done.stdout.splitlines())
    assert "faceless.png: no face found" in done.stderr
    assert len(done.stderr.splitlines()) > 5
    done = explain(invoke, inside / "faceless.png", "--out", tmp_path / "none")
    assert done.exit_code == 3
    assert explain(invoke, tmp_path / "none", "--out", tmp_path / "none").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--method", "tea-leaves"), "unknown explainer 'tea-leaves'"),
        (("--method", "evidence", "--target", "real"), "speaks for fake only"),
        (("--method", "rollout", "--target", "fake"), "shows no class"),
        pytest.param(("--method", "gradcam"), "tiny_plugin", marks=pytest.mark.torch),
        (("--target", "cat"), "cat"),
    ],
)
def test_what_cannot_be_explained_is_a_usage_error(invoke, tmp_path, arguments, reason):
    done = explain(invoke, PORTRAIT, "--out", tmp_path, *arguments)
    assert done.exit_code == 2
    assert reason in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_interrupted_command_keeps_what_it_wrote(invoke, tmp_path, monkeypatch):
    from deepfake_core.explainers.evidence import EvidenceMap

    whole = EvidenceMap.explain
    calls = []

    def second_fails(self, detector, crop):
        calls.append(crop)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, detector, crop)

    monkeypatch.setattr(EvidenceMap, "explain", second_fails)
    done = explain(invoke, PORTRAIT, PORTRAIT, "--method", "evidence", "--out", tmp_path)
    assert done.exit_code == 130
    (file,) = tmp_path.iterdir()
    with Image.open(file) as sheet:
        assert sheet.width == 688


def test_the_picture_says_what_it_is(tiny, tmp_path, monkeypatch):
    from deepfake_core.explainers import sheets
    from deepfake_core.loading.load import load

    seen = []
    monkeypatch.setattr(sheets, "panel", lambda crop, heat, **text: seen.append(text) or Image.new("RGB", (1, 1)))
    for target, p_fake, argued in (("predicted", 0.9, "fake"), ("predicted", 0.1, "real"), ("fake", 0.1, "fake")):
        made = sheets.Sheets(load(tiny), "occlusion", target)
        made.heat(np.zeros((64, 64, 3), np.uint8), p_fake).image(p_fake=p_fake, title="verdict: name")
        assert seen[-1]["title"] == f"verdict: name | occlusion for {argued}"
        assert seen[-1]["p_fake"] == p_fake
        assert f"P({argued})" in seen[-1]["sentence"]
        assert f"how far P({argued}) falls" in seen[-1]["meaning"]
    (tmp_path / "file").touch()
    sheet = sheets.Sheets(load(tiny), "occlusion")
    with pytest.raises(DeepfakeError, match="cannot be written"):
        sheet.write(tmp_path / "file" / "x.png", np.zeros((64, 64, 3), np.uint8), p_fake=0.5)


def test_the_page_on_explanations_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "explanations.md"
    first, second = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(PORTRAIT.read_bytes())
    names = {}
    exec(first, names)
    assert names["heat"].shape == names["result"].faces[0].crop.shape[:2]
    exec(second, names)
    heat = names["Centre"]().explain(names["detector"], names["result"].faces[0].crop)
    assert heat.shape == names["heat"].shape
    assert heat.any()
