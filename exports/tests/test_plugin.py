"""The records of the exporters, and how a detector finds them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deepfake_core.discovery.plugins import import_object
from deepfake_core.errors import DeepfakeError
from deepfake_core.export import export_detector
from deepfake_exports.plugin import EXPORTERS
from deepfake_exports.request import OFFERED


@pytest.mark.parametrize("spec", EXPORTERS, ids=lambda spec: spec.name)
def test_each_record_names_a_function(spec):
    pytest.importorskip("openvino" if spec.name == "openvino" else "torch")
    assert callable(import_object(spec.exporter))
    assert OFFERED[spec.name][0] == "fp32"


def test_listing_exporters_imports_no_format():
    code = (
        "import sys; from deepfake_core.discovery import plugins; "
        "print(*plugins.exporters()); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnx', 'openvino', 'deepfake_exports.request')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["onnx", "openvino", "pt2", "torchscript"]), done.stderr


def test_an_unknown_format_is_refused_before_the_network_is_built():
    with pytest.raises(DeepfakeError, match=r"unknown export format 'onxx'; did you mean 'onnx'\?"):
        export_detector(None, "onxx", out="x")
