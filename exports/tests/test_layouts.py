"""Folders of model servers: what is in them, and that what is in them gives the same numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from deepfake_core.discovery.artifacts import read_bare
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, InputError, MissingExtra
from deepfake_core.loading.load import load
from deepfake_exports import layouts
from deepfake_exports.formats.onnx import export_onnx
from deepfake_exports.layouts import triton_config, write_mlflow, write_triton
from deepfake_registry.manifest import MANIFEST_KEY, Clip, ModelManifest, manifest_of

needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
mlflow_warns = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # of its own


@pytest.fixture(scope="module")
def model(case, tmp_path_factory) -> Path:
    return export_onnx(case.detector, case.network, case.manifest, tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def want(case, model) -> np.ndarray:
    return load(model).score(case.images).logit


# ── Triton ───────────────────────────────────────────────────────────────────────────────────────────────────────

CONFIG = """\
name: "tiny"
backend: "onnxruntime"
platform: "onnxruntime_onnx"
max_batch_size: 32
version_policy { latest { num_versions: 1 } }
dynamic_batching { }
input { name: "images" data_type: TYPE_UINT8 dims: [ 32, 32, 3 ] }
output { name: "logit" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
output { name: "evidence" data_type: TYPE_FP32 dims: [ 8, 8 ] }
"""


def test_a_triton_repository(model, tmp_path):
    folder = write_triton(model, tmp_path / "repository")
    assert folder == tmp_path / "repository" / "tiny"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == ["1/model.onnx", "config.pbtxt", "manifest.json"]
    assert (folder / "1" / "model.onnx").read_bytes() == model.read_bytes()
    assert (folder / "config.pbtxt").read_text() == CONFIG
    assert ModelManifest.model_validate_json((folder / "manifest.json").read_bytes()) == read_bare(model).manifest


def test_triton_is_told_what_the_file_has(model):
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    types = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
    told = re.findall(r'^(?:input|output) { name: "(\w+)" data_type: (\w+) dims: \[ (.*?) \]', CONFIG, re.MULTILINE)
    has = [*session.get_inputs(), *session.get_outputs()]
    assert told == [(t.name, types[t.type], ", ".join(map(str, t.shape[1:] or [1]))) for t in has]


def test_names_of_tensors_cannot_change_the_configuration(case):
    name = 'logit" data_type: TYPE_FP64 } output { name: "\\é\n'
    (logit, *others) = case.manifest.outputs
    manifest = case.manifest.model_copy(update={"outputs": (logit.model_copy(update={"name": name}), *others)})
    lines = triton_config(manifest).splitlines()
    assert len(lines) == len(triton_config(case.manifest).splitlines())
    (line,) = (line for line in lines if "FP64" in line)
    written = re.fullmatch(r'output \{ name: ("(?:[^"\\]|\\.)*") data_type: TYPE_FP32 .*', line)
    assert written is not None
    assert json.loads(written[1]) == name


def test_triton_and_a_network_that_takes_clips(case):
    preprocess = case.manifest.preprocess.model_copy(update={"clip": Clip(length=5)})
    clips = manifest_of(name="clips", architecture="clips", preprocess=preprocess, weights="untrained")
    lines = triton_config(clips, max_batch=4).splitlines()
    assert 'input { name: "images" data_type: TYPE_UINT8 dims: [ 5, 32, 32, 3 ] }' in lines
    assert "max_batch_size: 4" in lines
    with pytest.raises(ValueError, match="at least 1"):
        triton_config(clips, max_batch=0)


def test_a_repository_takes_several_models_and_replaces_none(case, model, tmp_path):
    write_triton(model, tmp_path)
    before = (tmp_path / "tiny" / "config.pbtxt").read_bytes()
    with pytest.raises(DeepfakeError, match="tiny: is there already; remove it"):
        write_triton(model, tmp_path, max_batch=1)
    assert (tmp_path / "tiny" / "config.pbtxt").read_bytes() == before
    other = case.manifest.model_copy(update={"name": "other"})
    write_triton(export_onnx(case.detector, case.network, other, tmp_path / "other.onnx"), tmp_path)
    assert sorted(path.parent.name for path in tmp_path.glob("*/config.pbtxt")) == ["other", "tiny"]


@pytest.mark.parametrize("write", layouts.LAYOUTS.values(), ids=layouts.LAYOUTS)
def test_what_cannot_be_laid_out(write, case, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        write(tmp_path / "gone.onnx", tmp_path / "out")
    (tmp_path / "broken.onnx").write_bytes(b"\x00\x01")
    with pytest.raises(ArtifactCorrupt, match=r"broken\.onnx"):
        write(tmp_path / "broken.onnx", tmp_path / "out")
    header = json.dumps({"__metadata__": {MANIFEST_KEY: case.manifest.model_dump_json()}}).encode()
    (tmp_path / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DeepfakeError, match="holds an ONNX file"):
        write(tmp_path / "weights.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ── MLflow ───────────────────────────────────────────────────────────────────────────────────────────────────────


@needs_mlflow
@mlflow_warns
def test_an_mlflow_model_gives_the_same_logits(case, model, want, tmp_path):
    import mlflow

    folder = write_mlflow(model, tmp_path / "mlflow")
    assert (folder / "model.onnx").read_bytes() == model.read_bytes(), "one file, its manifest inside"
    assert "onnxruntime" in (folder / "requirements.txt").read_text()

    loaded = mlflow.pyfunc.load_model(str(folder))
    assert [(t.name, t.type, t.shape) for t in loaded.metadata.signature.inputs] == [
        ("images", np.dtype(np.uint8), (-1, 32, 32, 3))
    ]
    assert [(t.name, t.type, t.shape) for t in loaded.metadata.signature.outputs] == [
        ("logit", np.dtype(np.float32), (-1,)),
        ("evidence", np.dtype(np.float32), (-1, 8, 8)),
    ]
    assert ModelManifest.model_validate(loaded.metadata.metadata[MANIFEST_KEY]) == read_bare(model).manifest
    for batch in (1, 2, 5):
        got = loaded.predict(case.images[:batch])
        assert got.keys() == {"logit", "evidence"}
        np.testing.assert_allclose(got["logit"], want[:batch], rtol=0, atol=1e-5)
    with pytest.raises(mlflow.exceptions.MlflowException, match="does not match expected dtype uint8"):
        loaded.predict(case.images[:1].astype(np.float32))

    proto = mlflow.onnx.load_model(str(folder))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (logit,) = session.run(["logit"], {"images": case.images})
    np.testing.assert_allclose(logit, want, rtol=0, atol=1e-5)


@needs_mlflow
@mlflow_warns
def test_the_documented_programs_register_and_read_an_mlflow_model(case, model, want, tmp_path):
    write_mlflow(model, tmp_path / "mlflow")
    for index in range(2):
        Image.fromarray(case.images[index]).save(tmp_path / f"{index}.png")

    def run(snippet, *arguments):
        command = [sys.executable, Path(__file__).parents[2] / "docs" / "snippets" / snippet, *arguments]
        store = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **store}, stdout=subprocess.PIPE, check=True)
        return done.stdout

    run("register_mlflow.py", "mlflow", "tiny")
    for name in ("mlflow", "models:/tiny/1"):
        answers = [json.loads(line) for line in run("judge_mlflow.py", name, "0.png", "1.png").splitlines()]
        assert [answer["file"] for answer in answers] == ["0.png", "1.png"]
        for answer, logit in zip(answers, want.tolist(), strict=False):
            assert answer["logit"] == pytest.approx(logit, abs=1e-5)
            assert answer["p_fake"] == pytest.approx(case.manifest.calibration.p_fake(logit), abs=1e-5)
            assert answer["verdict"] == case.manifest.calibration.verdict(answer["p_fake"])


@needs_mlflow
@mlflow_warns
def test_an_mlflow_model_replaces_nothing(model, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DeepfakeError, match="is there already"):
        write_mlflow(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_mlflow_the_way_to_get_it_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r"deepfake-core\[track\]"):
        write_mlflow(model, tmp_path / "mlflow")
    assert not (tmp_path / "mlflow").exists()
