"""What the privacy page promises: nothing looks up a host, and nothing but the documented cache stays in HOME."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from deepfake_core import telemetry
from deepfake_core.datasets.layouts.drawn import draw_face

HERE = Path(__file__).parent
SILENT = {"CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", *telemetry.SWITCHES}
"""Variables that hide what a library would send."""
LEFT = (".cache/deepfake-core/", ".cache/matplotlib/", ".config/matplotlib/", ".config/wandb/", ".cache/wandb/")
"""Folders in HOME that are documented: caches, and the settings of a tracker that was asked for."""

JUDGE = """
import deepfake_core
detector = deepfake_core.load("lite", backend=sys.argv[1], device="cpu")
assert detector.predict("face.png").p_fake is not None
"""
TRAIN = """
import deepfake_core
from deepfake_core import Phase, TrainRecipe
recipe = TrainRecipe(phases=(Phase(steps=1),), batch_size=4, workers=0, validation_share=0.5, explain=0)
trained = deepfake_core.load("tiny").train("faces", recipe, "run", device="cpu", track=sys.argv[1:])
assert trained.predict("face.png").p_fake is not None
trained.export("onnx", out="trained.onnx")
"""
DEMO = """
import urllib.request, deepfake_core
from deepfake_unet import demo
page = demo.build(deepfake_core.load("unet", device="cpu", untrained=True))
_, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
assert b"Protect a picture" in urllib.request.urlopen(address).read()
page.close()
"""
TOLD = """
import nncf.telemetry, openvino
from nncf.telemetry.wrapper import NNCFTelemetryStub
assert isinstance(nncf.telemetry.telemetry, NNCFTelemetryStub), "it would send"
"""


def isolated() -> list[str]:
    """Return the start of a command that runs in namespaces of its own, or skip."""
    command = ["unshare", "--map-root-user", "--net", "--mount"]
    allowed = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False)
    if not allowed or allowed.returncode:
        pytest.skip("this system allows no namespaces, in which look-ups are recorded")
    return command


def lookups(tmp_path: Path, program: str, *arguments: str) -> tuple[list[str], list[str]]:
    """Run a program with an empty HOME; return the names that were looked up, and the files that are left in HOME."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    (work / "faces").mkdir(parents=True)
    Image.fromarray(draw_face(1)).save(work / "face.png")
    for kind in ("real", "fake"):
        (work / "faces" / kind).mkdir()
        for number in range(4):
            Image.fromarray(draw_face(number)).save(work / "faces" / kind / f"{number}.png")
    environment = {name: value for name, value in os.environ.items() if name not in SILENT | {"XDG_CACHE_HOME"}}
    environment |= {
        "HOME": str(home), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "MLFLOW_ALLOW_FILE_STORE": "true",
        "PYTHONPATH": str(HERE.parent / "core" / "tests" / "tiny_plugin"),
    }  # fmt: skip
    last = "\nimport socket\ntry: socket.getaddrinfo('the-end.invalid', 80)\nexcept OSError: pass\n"
    command = [sys.executable, "-c", f"import sys\n{program}{last}", *arguments]
    done = subprocess.run(
        [*isolated(), sys.executable, str(HERE / "lookups.py"), str(tmp_path), *command],
        capture_output=True, text=True, check=False, cwd=work, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == 0, found["output"]
    assert "the-end.invalid" in found["names"], "the recorder works"
    left = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    names = [name for name in found["names"] if not name.startswith("the-end.invalid")]
    return names, [name for name in left if not name.startswith(LEFT)]


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.openvino)])
def test_judging_looks_up_no_host(tmp_path, backend):
    assert lookups(tmp_path, JUDGE, backend) == ([], [])


@pytest.mark.torch
def test_training_judging_in_torch_and_exporting_look_up_no_host(tmp_path):
    store = (tmp_path / "store").as_uri()
    trackers = ["tensorboard", *([f"mlflow:{store}"] if find_spec("mlflow") else [])]
    assert lookups(tmp_path, TRAIN, *trackers) == ([], [])


@pytest.mark.torch
def test_the_demo_looks_up_no_host(tmp_path):
    pytest.importorskip("gradio")
    assert lookups(tmp_path, DEMO) == ([], [])


@pytest.mark.openvino
def test_compressing_weights_looks_up_no_host(tmp_path):
    pytest.importorskip("nncf")
    assert lookups(tmp_path, "import deepfake_core" + TOLD) == ([], [])


def test_every_switch_is_set_on_import_and_none_overrides_the_user(tmp_path):
    code = "import json, os, sys, deepfake_core as d; from deepfake_core.telemetry import SWITCHES as s; "
    code += "print(json.dumps([{n: os.environ[n] for n in s}, 'openvino_telemetry' in sys.modules]))"

    def settings(**variables: str) -> list:
        environment = {name: value for name, value in os.environ.items() if name not in SILENT}
        environment |= {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), **variables}
        return json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment))

    assert settings() == [telemetry.SWITCHES, True]
    mine = {"ORT_DISABLE_TELEMETRY": "0", "GRADIO_ANALYTICS_ENABLED": "True"}
    folder = tmp_path / ("Intel Corporation" if os.name == "nt" else "intel")
    folder.mkdir()
    (folder / "openvino_telemetry").write_text("1")
    assert settings(**mine) == [{**telemetry.SWITCHES, **mine}, False]


def test_the_privacy_page_lists_every_switch():
    page = (HERE.parent / "docs" / "privacy.md").read_text()
    assert set(re.findall(r"`([A-Z_]+)=", page)) >= set(telemetry.SWITCHES)
    assert all(f"`{name}={value}`" in page for name, value in telemetry.SWITCHES.items())
