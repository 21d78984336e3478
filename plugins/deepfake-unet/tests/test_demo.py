"""The demo: built but not launched; CPU unless told otherwise."""

import subprocess
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.errors import MissingExtra
from deepfake_unet import demo

pytestmark = pytest.mark.torch


SERVED = """
import urllib.request
import deepfake_core
from deepfake_unet import demo
page = demo.build(deepfake_core.load("unet", device="cpu"))
assert page.analytics_enabled is False
_, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
print(urllib.request.urlopen(address).read().decode())
page.close()
"""


def test_the_page_is_built_and_served():  # 002-1, 002-8
    pytest.importorskip("gradio")
    # In a process of its own: gradio leaves sockets and event loops behind.
    done = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Protect a picture" in done.stdout


def test_gradio_is_optional(detector, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtra, match=r"deepfake-unet\[demo\]"):
        demo.build(detector)


def test_what_the_button_does(detector):  # 002-8
    face = Image.fromarray(draw_face(1))
    image, facts = demo.protected(detector, face, 0.05)
    assert image.size == face.size
    assert all(part in facts for part in ("1 face", "PSNR", "SSIM", "untrained"))


@pytest.mark.parametrize(("arguments", "device"), [((), "cpu"), (("--gpu",), "cuda")])
def test_options(detector, monkeypatch, arguments, device):  # 002-8
    import typer

    asked = {}

    class Page:
        def launch(self, **options):
            asked.update(options)

    monkeypatch.setattr(demo, "load", lambda model, device: asked.update(model=model, device=device) or detector)
    monkeypatch.setattr(demo, "build", lambda _detector: Page())
    app = typer.Typer()
    app.command()(demo.main)
    done = CliRunner().invoke(app, ["--model", "mine.onnx", "--share", *arguments])
    assert done.exit_code == 0, done.output
    assert asked == {"model": "mine.onnx", "device": device, "share": True, "server_port": None}
