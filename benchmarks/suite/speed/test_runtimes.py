"""Speed of ``lite`` on every runtime, and of what stands around its network; see ``test_inputs.py`` for the host half.

Run with ``pytest benchmarks/suite/speed --benchmark-only``.
"""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_bench.cli.publish.parity import network_of
from deepfake_bench.scenarios.speed.portrait import network_input, write_picture
from deepfake_core import load
from deepfake_core.handle.postprocess import to_result
from deepfake_core.runtimes.autotune import COMPARED

RUNTIMES = [
    "onnxruntime",
    pytest.param("openvino", marks=pytest.mark.openvino),
    pytest.param("torch", marks=pytest.mark.torch),
    pytest.param("torchscript", marks=pytest.mark.torchscript),
    pytest.param("pt2", marks=pytest.mark.torch),
]


@pytest.fixture(scope="module")
def lite():
    """The detector as it ships, on ONNX Runtime."""
    return load("lite", backend="onnxruntime", device="cpu")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A 1080p JPEG with one face."""
    return write_picture(tmp_path_factory.mktemp("picture"))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Runtime → what runs the shipped weights there; files that do not ship are exported first."""

    def run(name):
        if name in COMPARED:
            return load("lite", backend=name, device="cpu").runtime.run
        eager = network_of("lite")
        if name == "torch":
            return eager.runtime.run
        from deepfake_core.discovery.plugins import exporter_spec
        from deepfake_exports.table import run_of

        out = tmp_path_factory.mktemp(name) / f"lite{exporter_spec(name).suffix}"
        return run_of(name, eager.export(name, out=out), eager.manifest)

    return run


@pytest.mark.parametrize("name", RUNTIMES)
def test_network_at_batch_1(benchmark, opened, lite, name):
    """From uint8 [1, 224, 224, 3] to the logit, the same everywhere but for torch's weights, which ship in halves."""
    cuts = network_input(lite)
    assert benchmark(opened(name), *cuts).logit == pytest.approx(lite.score(*cuts).logit, abs=0.02)


def test_predict_a_1080p_jpeg(benchmark, lite, picture):
    """From the file to the verdict."""
    assert len(benchmark(lite.predict, picture).faces) == 1


def test_judge_one_face(benchmark, lite, picture):
    """From the logit to the calibrated verdict."""
    prepared = lite.prepare(picture)
    outputs = lite.score(prepared.crops)
    expected = lite.manifest.calibration.p_fake(float(outputs.logit[0]))
    assert benchmark(to_result, prepared, outputs, lite.manifest).p_fake == pytest.approx(expected)


def test_judge_with_evidence(benchmark, lite, picture):
    """The same with the evidence map as probabilities."""
    prepared = lite.prepare(picture)
    (face,) = benchmark(to_result, prepared, lite.score(prepared.crops), lite.manifest, evidence=True).faces
    assert np.all((face.evidence >= 0) & (face.evidence <= 1))
