"""``dfbench data``: what the commands print, write and return."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from layouts import write
from mini_sets import jpeg, pictures
from typer.testing import CliRunner, Result

from deepfake_bench.cli import app
from deepfake_core.data.audit.result import Auc, Finding, Shortcuts, SourceAudit
from deepfake_core.datasets.opening import open_dataset

PAGE = Path(__file__).parents[3] / "docs" / "data-tools.md"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_check_counts_and_is_satisfied(tmp_path):  # 004-7
    root = pictures(tmp_path / "set", 3)
    done = invoke("check", root, "--json", tmp_path / "c.json", "--state", tmp_path / "state")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "source  label  split  samples  groups  unreadable",
        "a       fake   -            3       3           0",
        "a       real   -            3       3           0",
        "labels: 'real' → real (3), 'fake' → fake (3)",
        "6 of 6 files looked into: fit for use",
    ]
    assert json.loads((tmp_path / "c.json").read_text())["fit"] is True
    again = invoke("check", root, "--state", tmp_path / "state")
    assert again.stdout == done.stdout


def test_check_exits_2_when_the_dataset_is_not_fit(tmp_path):  # 001-26
    root = pictures(tmp_path / "set", 3)
    (root / "a" / "real" / "\x1b[31m.jpg").write_bytes(b"no picture")
    done = invoke("check", root)
    assert done.exit_code == 2
    assert "error: 1 of 7 files cannot be read, more than 1.0%" in done.stderr
    assert "\x1b" not in done.output
    assert done.stdout.endswith("not fit for use\n")
    assert invoke("check", root, "--max-bad", 0.5).exit_code == 0
    missing = invoke("check", tmp_path / "nowhere")
    assert missing.exit_code == 2
    assert "no such file or folder" in missing.stderr


def test_a_leaking_split_is_not_fit(tmp_path):  # resolution 7
    write(tmp_path, {f"{number}.jpg": jpeg(number) for number in range(4)})
    rows = [
        ("path", "label", "group", "split"),
        *((f"{n}.jpg", n // 2, "v", ("train", "test")[n % 2]) for n in range(4)),
    ]
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    done = invoke("check", f"{tmp_path / 't.csv'}?labels=1:fake,0:real")
    assert done.exit_code == 2
    assert "labels: '0' → real (2), '1' → fake (2)" in done.stdout
    assert "1 groups (videos or sequences) are in two splits" in done.stderr
    assert "group v (train: 0.jpg, test: 1.jpg)" in done.stderr


def test_manifest_is_written_and_verified(tmp_path):  # 001-32
    root = pictures(tmp_path / "set", 3)
    written = invoke("manifest", root, "--out", tmp_path / "m.csv")
    assert written.exit_code == 0, written.output
    verified = invoke("manifest", root, "--verify", tmp_path / "m.csv")
    assert verified.exit_code == 0, verified.output
    assert written.stdout.splitlines()[1] == verified.stdout.splitlines()[1]
    (root / "a" / "real" / "r0.jpg").write_bytes(jpeg(9))
    (root / "a" / "real" / "r1.jpg").unlink()
    differs = invoke("manifest", root, "--verify", tmp_path / "m.csv")
    assert differs.exit_code == 2
    assert differs.stdout.splitlines()[:2] == ["changed  a/real/r0.jpg", "missing  a/real/r1.jpg"]
    assert invoke("manifest", root).exit_code == 2
    refused = invoke("manifest", root, "--verify", tmp_path / "m.csv", "--state", tmp_path / "state")
    assert refused.exit_code == 2
    assert "leave out --state" in refused.stderr


def test_split_writes_what_csv_reads(tmp_path):  # 003-8
    root = pictures(tmp_path / "50%26 of A&B?", 20, ("a", "b"))
    done = invoke("split", root, "--out", tmp_path / "s.csv", "--valid", 0.2, "--test", 0.1)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:2] == ["source  label  train  valid  test", "a       fake      14      4     2"]
    spec = done.stdout.splitlines()[-1].split("use it as ")[1]
    assert len(list(open_dataset(spec))) == 80
    checked = invoke("check", spec)
    assert checked.exit_code == 0, checked.output
    same = invoke("split", spec, "--out", tmp_path / "again.csv")
    assert same.exit_code == 0, same.output
    assert sorted((tmp_path / "again.csv").read_text().splitlines()) == sorted(
        (tmp_path / "s.csv").read_text().splitlines()
    )


def test_split_warns_of_what_it_cannot_do(tmp_path):
    done = invoke("split", pictures(tmp_path / "set", 1), "--out", tmp_path / "s.csv")
    assert done.exit_code == 0
    assert "warning: the split 'valid' lacks a class" in done.stderr


def test_stats_point_out_shortcuts(tmp_path):
    files = {f"real/r{number}.jpg": jpeg(number) for number in range(20)}
    files |= {f"fake/f{number}.png": jpeg(50 + number, format="PNG") for number in range(20)}
    done = invoke("stats", write(tmp_path / "set", files), "--json", tmp_path / "s.json")
    assert done.exit_code == 0, done.output
    assert "warning: class is predictable from file format: real is JPEG 100%, fake is PNG 100%" in done.stderr
    assert "PNG:20" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text())["shortcuts"][0]["what"] == "file format"


def test_prepare_may_only_check(tmp_path):  # 004-7
    done = invoke("prepare", pictures(tmp_path / "set", 3), "--check-only")
    assert done.exit_code == 0, done.output
    assert "fit for use" in done.stdout
    assert not (tmp_path / "store").exists()
    assert invoke("prepare", tmp_path / "set").exit_code == 2


@pytest.mark.torch
def test_the_sample_is_prepared_by_one_command_offline(tmp_path, monkeypatch):  # 002-5
    import socket

    def refuse(*_arguments: object) -> None:
        raise AssertionError("the sample needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = invoke("prepare", "sample", "--out", tmp_path / "store", "--side", 96)
    assert done.exit_code == 0, done.output
    spec = done.stdout.splitlines()[0].split("use it as ")[1]
    kept = list(open_dataset(spec))
    assert {sample.is_fake for sample in kept} == {0, 1}
    assert {sample.split for sample in kept} == {"train", "valid", "test"}
    assert invoke("check", spec).exit_code == 0
    assert Path(tmp_path / "store" / "store.json").is_file()


@pytest.mark.torch
def test_a_store_gains_landmarks_in_place(tmp_path, monkeypatch):
    import numpy as np

    from deepfake_core.data.crops import landmarks

    class Mesh:
        def find(self, pixels: object, face: object) -> object:
            return np.full((len(landmarks.MESH_POINTS), 2), np.nan if np.mean(pixels) > 140 else 9, np.float32)

    monkeypatch.setattr(landmarks, "FaceMesh", Mesh)
    monkeypatch.setattr(landmarks, "model_file", lambda: None)
    store = tmp_path / "store"
    made = invoke("prepare", "sample", "--out", store, "--side", 64, "--max-images", 6)
    assert "landmarks:" not in made.stdout
    done = invoke("prepare", f"crops:{store}", "--landmarks")
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()[:2]
    assert first.endswith(f"use it as crops:{store}")
    assert re.fullmatch(r"landmarks: found in \d of \d faces; pairs are made of these", second)
    for arguments in ([], ["--landmarks", "--out", tmp_path / "other"]):
        refused = invoke("prepare", f"crops:{store}", *arguments)
        assert refused.exit_code == 2
        assert "is a store already; add landmarks to it with --landmarks and without --out" in refused.stderr


@pytest.mark.torch
def test_a_store_is_packed_into_one_file_that_other_commands_read(tmp_path):
    store, packed = tmp_path / "store", tmp_path / "faces.pack"
    invoke("prepare", "sample", "--out", store, "--side", 64, "--max-images", 6)
    terms = tmp_path / "sources.toml"
    terms.write_text('[[source]]\nname = "faces"\nwhat = "drawn"\nterms = "none"\n')
    done = invoke("pack", store, "--out", packed, "--side", 48, "--quality", 80, "--sources", terms)
    assert done.exit_code == 0, done.output
    assert re.match(rf"{packed}: 6 pictures, 4 real and 2 fake, 0\.\d MB in 1 file; use it as", done.stdout)
    assert "note: it has no landmarks" in done.stderr
    kept = open_dataset(f"crops:{packed}").store  # type: ignore[attr-defined]
    assert (kept.packed.coding, kept.packed.side, kept.packed.terms[0].terms) == ("webp", 48, "none")
    assert invoke("check", packed).stdout == invoke("check", store).stdout
    assert invoke("stats", packed).exit_code == 0
    again = invoke("pack", packed, "--out", packed)
    assert "is the pack that is to be packed; name another file" in again.stderr
    other = invoke("pack", "sample:faces", "--out", packed)
    assert other.exit_code == 2
    assert "is no store of faces; make one with dfbench data prepare sample:faces --out FOLDER" in other.stderr


def test_shortcuts_are_shown_with_their_remedies(tmp_path, monkeypatch):
    weak, strong = (Auc(value, value - 0.05, value + 0.05, True) for value in (0.55, 0.9))
    findings = (Finding("a", "sharpness_1", strong, "real", -6, -7.5), Finding("a", "noise", weak, "fake", 0.1, 0.2))
    sources = (
        SourceAudit("a", 30, 40, findings=findings, together=strong, seen=weak, baseline=weak),
        SourceAudit("b", 7, 0, problem="real faces only"),
    )
    asked = []
    result = Shortcuts(sources, {"face_x": "a store does not keep it"}, unreadable=2, faceless=1)
    monkeypatch.setattr(
        "deepfake_core.data.audit.run.audited", lambda _data, **options: asked.append(options) or result
    )
    data = pictures(tmp_path / "set", 1)
    done = invoke("shortcuts", data, "--beside", "a=b,c", "--beside", "b=*", "--json", tmp_path / "s.json")
    assert done.exit_code == 1
    assert asked[0]["beside"] == {"a": ["b", "c"], "b": ["*"]}
    assert done.stdout.splitlines()[1].split() == [
        "a", "30", "40", "sharpness,", "finest", "octave", "0.90", "[0.85,", "0.95]", "0.90", "0.55", "0.55",
    ]  # fmt: skip
    assert "2 above AUC 0.60 (all together 0.65), with the medians:" in done.stdout
    assert "- sharpness, finest octave: draw real faces and fakes that agree in it" in done.stdout
    assert "warning: 2 files cannot be read" in done.stderr
    assert "warning: 1 files show no face" in done.stderr
    assert "not measured: face_x: a store does not keep it" in done.stderr
    content = json.loads((tmp_path / "s.json").read_text())
    assert content.keys() == {"settings", "unreadable", "faceless", "left_out", "sources", "bound", "above"}
    assert content["sources"][1]["together"] is None
    assert [(one["source"], one["feature"]) for one in content["above"]] == [
        ("a", "sharpness_1"),
        ("a", "all together"),
    ]
    quiet = invoke("shortcuts", data, "--bound", 0.95)
    assert quiet.exit_code == 0
    assert quiet.stdout.endswith("no shortcut above AUC 0.95 (all together 1.00)\n")
    wrong = invoke("shortcuts", data, "--beside", "a")
    assert wrong.exit_code == 2
    assert "'a' is not SOURCE=OTHER,OTHER" in wrong.stderr


def test_wilddeepfake_is_limited_unless_told_otherwise(tmp_path, monkeypatch):  # 004-7
    from deepfake_bench.cli.data import prepare
    from deepfake_core.datasets.layouts.image_folder import ImageFolder
    from deepfake_core.datasets.layouts.wilddeepfake import WildDeepfake

    asked: list[int | None] = []
    monkeypatch.setattr(prepare, "run_check", lambda _dataset, max_images, **_options: asked.append(max_images))
    for kind in (WildDeepfake, ImageFolder):
        monkeypatch.setattr(prepare, "opened", lambda _spec, kind=kind: kind(tmp_path))
        assert invoke("prepare", "x", "--check-only").exit_code == 0
        assert invoke("prepare", "x", "--check-only", "--max-images", 7).exit_code == 0
    assert asked == [300_000, 7, None, 7]


@pytest.mark.torch
def test_the_documentation_shows_what_the_commands_print(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"```sh\ndfbench data (.*?)\n```\n\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [command.split()[0] for command, _ in shown] == [
        "check",
        "manifest",
        "manifest",
        "split",
        "stats",
        "prepare",
        "pack",
    ]
    for command, expected in shown:
        done = invoke(*shlex.split(command))
        assert done.exit_code == 0, done.output
        assert _without_numbers(done.stdout + done.stderr) == _without_numbers(expected), command
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(code, {})


def _without_numbers(text: str) -> list[str]:
    """Lines without what depends on the encoder that drew the sample."""
    return re.sub(r"[0-9a-f]{64}|\d[\d.,]*", "#", re.sub(" +", " ", text)).splitlines()
