"""``dfbench registry``: publish, find again, look after, sign."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_core import load
from deepfake_core.discovery.artifacts import read_bare, write_package

MODEL = Path(__file__).parents[1] / "tiny.onnx"


def invoke(*arguments):
    return CliRunner().invoke(app, ["registry", *map(str, arguments)])


def told(*arguments):
    """What a command printed; it must succeed."""
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    return done.output


def as_json(*arguments):
    return json.loads(told(*arguments, "--format", "json"))


def make_package(folder, version="1", **changes):
    manifest = read_bare(MODEL).manifest.model_copy(update={"version": version, **changes})
    return write_package(folder, manifest, {"onnx": MODEL}).folder


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty registry, which the environment names."""
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.delenv("DEEPFAKE_REGISTRY_KEY", raising=False)
    return tmp_path / "registry"


@pytest.fixture
def filled(store, tmp_path):
    """With ``tiny@1``, which is in production, and ``tiny@2``."""
    told("push", make_package(tmp_path / "one"))
    told("push", make_package(tmp_path / "two", "2", license="MIT"))
    told("alias", "tiny@1", "production", "--reason", "first release")
    return store


def blob(store):
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    return store / "blobs" / "sha256" / digest[:2] / digest


def test_push_and_list(store, tmp_path):
    assert "no models" in invoke("ls").output
    folder = make_package(tmp_path / "run" / "model")
    assert told("push", tmp_path / "run").startswith("pushed tiny@1, sha256 ")  # the folder of a run
    assert told("push", folder).startswith("is there already: tiny@1")
    done = invoke("push", make_package(tmp_path / "other", license="MIT"))
    assert done.exit_code == 2
    assert "a version never changes" in done.output
    (entry,) = as_json("ls")["models"]
    assert (entry["name"], entry["version"], entry["aliases"]) == ("tiny", "1", [])
    assert "tiny@1" in told("ls")


def test_several_formats_of_a_model_are_pushed_as_one_version(store, tmp_path):
    manifest = read_bare(MODEL).manifest
    (tmp_path / "tiny.pt2").write_bytes(b"program")
    (tmp_path / "tiny.onnx").write_bytes(b"another file")
    one = write_package(tmp_path / "one", manifest, {"onnx": MODEL}).folder
    two = write_package(tmp_path / "two", manifest, {"pt2": tmp_path / "tiny.pt2"}).folder
    clash = write_package(tmp_path / "clash", manifest, {"onnx": tmp_path / "tiny.onnx"}).folder
    for others, words in (
        ([clash], "different files of the format onnx"),
        ([make_package(tmp_path / "x", "2")], "not the"),
    ):
        refused = invoke("push", one, *others)
        assert refused.exit_code == 2
        assert words in refused.stderr
    assert told("push", one, two).startswith("pushed tiny@1, sha256 ")
    assert sorted(as_json("show", "tiny@1")["files"]) == ["onnx", "pt2"]
    assert load("tiny@1", device="cpu").manifest.version == "1"
    assert told("push", two, one).startswith("is there already: tiny@1")
    later = invoke("push", one)
    assert "name all folders of the model in its first push" in later.stderr


def test_show(filled):
    shown = as_json("show", "tiny@production")
    assert (shown["version"], shown["aliases"], shown["manifest"]["name"]) == ("1", ["production"], "tiny")
    assert shown["files"]["onnx"]["size_bytes"] == MODEL.stat().st_size
    assert "production" in told("show", "tiny@1")
    assert [entry["version"] for entry in as_json("show", "tiny")] == ["1", "2"]
    assert invoke("show", "tinny").exit_code == 2


def test_pull_gives_a_package_that_loads(filled, tmp_path):
    out = tmp_path / "pulled"
    assert f"--detector {out}/" in told("pull", "tiny@production", "--out", out)
    assert load(out).manifest.version == "1"
    done = invoke("pull", "tiny@2", "--out", out)
    assert done.exit_code == 2
    assert "is there already" in done.output


def test_an_alias_moves_with_a_reason_and_keeps_its_history(filled):
    done = invoke("alias", "tiny@2", "production")
    assert done.exit_code == 2
    assert "--reason" in done.output
    assert told("alias", "tiny@2", "production", "--reason", "better").strip() == "tiny@production is tiny@2 now"
    told("alias", "tiny@production", "staging", "--reason", "the same")
    moves = as_json("alias", "tiny", "production", "--history")
    assert [(move["version"], move["reason"]) for move in moves] == [("1", "first release"), ("2", "better")]
    assert "first release" in told("alias", "tiny", "production", "--history")
    assert as_json("show", "tiny@2")["aliases"] == ["production", "staging"]


def test_verify_finds_a_flipped_bit(filled):
    assert "2 versions, 1 moves of aliases, 3 files: all as they were pushed" in told("verify")
    data = blob(filled).read_bytes()
    blob(filled).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = invoke("verify")
    assert done.exit_code == 2
    assert str(blob(filled)) in done.output
    assert len(json.loads(invoke("verify", "--format", "json").output)["problems"]) == 1


def test_gc_says_first_and_removes_then(filled):
    stray = filled / "blobs" / "sha256" / "ab" / ("ab" + "0" * 62)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    assert "0 files" in told("gc", "--yes")  # too young
    os.utime(stray, (0, 0))
    assert "would be removed; add --yes" in told("gc")
    assert stray.exists()
    assert "1 files" in told("gc", "--yes")
    assert not stray.exists()
    assert "all as they were pushed" in told("verify")


def test_diff(filled):
    found = {change["field"]: change for change in as_json("diff", "tiny@1", "tiny@2")}
    assert set(found) == {"version", "license"}
    assert found["license"]["after"] == "MIT"
    assert "license" in told("diff", "tiny@production", "tiny@2")
    assert told("diff", "tiny@1", "tiny@production").strip() == "tiny@1 and tiny@1 are the same"


def test_the_index_as_files(filled, tmp_path):
    told("push", make_package(tmp_path / "evil", "3", license="<script>alert(1)</script>"))
    told("serve-index", "--out", tmp_path / "site")
    index = json.loads((tmp_path / "site" / "index.json").read_text())
    assert [entry["version"] for entry in index["models"]] == ["1", "2", "3"]
    page = (tmp_path / "site" / "index.html").read_text()
    assert "tiny@1" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_index_is_served(filled):
    command = [sys.executable, "-u", "-m", "deepfake_bench", "registry", "serve-index", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[1]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}index.json", timeout=30) as answer:
            assert len(json.load(answer)["models"]) == 2
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"<title>Models</title>" in answer.read()
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
    assert server.returncode == 130


def test_signatures(filled, tmp_path, monkeypatch):
    pytest.importorskip("model_signing")
    subprocess.run(
        [sys.executable, "-c", KEYS, tmp_path / "private.pem", tmp_path / "public.pem"], check=True, timeout=60
    )
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    told("sign", "tiny@1", "--private-key", private)
    assert "tiny@1 is signed by" in told("check-signature", "tiny@production", "--key", public)
    assert as_json("show", "tiny@1")["signatures"] == 1
    assert "name the public key" in invoke("check-signature", "tiny@1").output
    done = invoke("check-signature", "tiny@2", "--key", public)
    assert done.exit_code == 2
    assert "not signed" in done.output
    assert invoke("pull", "tiny@2", "--out", tmp_path / "two-again", "--key", public).exit_code == 2
    monkeypatch.setenv("DEEPFAKE_REGISTRY_KEY", str(public))
    assert invoke("pull", "tiny@2", "--out", tmp_path / "two-again").exit_code == 2
    assert not (tmp_path / "two-again").exists()
    told("pull", "tiny@1", "--out", tmp_path / "one-again")


KEYS = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
Path(sys.argv[1]).write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
Path(sys.argv[2]).write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
"""


def test_predict_takes_a_model_of_the_registry(filled, dfbench, tmp_path):
    picture = Path(__file__).parents[2] / "deepfake_bench" / "data" / "portrait.jpg"
    shutil.copy(picture, tmp_path / "photo.jpg")
    done = dfbench(
        "predict", tmp_path / "photo.jpg", "--detector", "tiny@production", "--format", "jsonl",
        env={"DEEPFAKE_REGISTRY": str(filled)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] in {"real", "fake", "unsure"}
    done = dfbench("predict", picture, "--detector", "tiny@gone", env={"DEEPFAKE_REGISTRY": str(filled)})
    assert done.returncode == 2
    assert done.stderr.startswith(b"dfbench: tiny@gone: not in the registry")
