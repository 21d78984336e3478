"""Multiply-adds of known layers, and the rates that a machine reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from deepfake_bench.runner import roofline  # noqa: E402
from deepfake_bench.runner.roofline import Gemm, Peak, chain_graph, floor_ms, multiply_adds, peaks, peaks_of  # noqa: E402
from deepfake_core.errors import ArtifactCorrupt  # noqa: E402


def write(path, nodes, shape, *, kind=TensorProto.FLOAT, result=TensorProto.FLOAT, domain="", **constants):
    """A graph from ``x`` of a shape to ``y``; constants are arrays by name."""
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def floats(*shape):
    return np.ones(shape, np.float32)


def layer(path, kind, shape, weight, **settings):
    return write(path, [helper.make_node(kind, ["x", "w"], ["y"], **settings)], shape, w=weight)


@pytest.mark.parametrize(
    ("kind", "shape", "weight", "settings", "expected"),
    [
        # 16 channels of 15 × 15 places, each from 3 × 3 of 8 channels.
        ("Conv", ["N", 8, 32, 32], (16, 8, 3, 3), {"strides": [2, 2]}, 15 * 15 * 16 * 8 * 9),
        ("Conv", ["N", 8, 32, 32], (16, 8, 3, 3), {"pads": [1] * 4}, 32 * 32 * 16 * 8 * 9),
        ("Conv", ["N", 8, 32, 32], (8, 1, 3, 3), {"group": 8, "pads": [1] * 4}, 32 * 32 * 8 * 9),
        ("ConvTranspose", ["N", 8, 16, 16], (8, 4, 2, 2), {"strides": [2, 2]}, 16 * 16 * 8 * 4 * 4),
        ("MatMul", ["N", 196, 768], (768, 3072), {}, 196 * 768 * 3072),
        ("MatMul", [5], (5,), {}, 5),
        ("Gemm", ["N", 64], (64, 2), {}, 64 * 2),
        ("Gemm", ["N", 64], (2, 64), {"transB": 1}, 64 * 2),
        ("Gemm", [64, "N"], (64, 2), {"transA": 1}, 64 * 2),
        ("Einsum", ["N", 3, 7, 5], (1, 3, 11, 5), {"equation": "bhlk,bhtk->bhlt"}, 3 * 7 * 11 * 5),
    ],
)
def test_the_multiply_adds_of_a_layer_are_exact(tmp_path, kind, shape, weight, settings, expected):
    assert multiply_adds(layer(tmp_path / "layer.onnx", kind, shape, floats(*weight), **settings)) == expected


def test_integer_forms_count_as_the_float_ones_do(tmp_path):
    one, zero = np.float32(1), np.uint8(0)
    scales = {"s": one, "z": zero}
    forms = {
        "MatMulInteger": (["x", "w"], [1, 6, 4], (4, 9), TensorProto.INT32, 6 * 4 * 9),
        "QLinearMatMul": (["x", "s", "z", "w", "s", "z", "s", "z"], [1, 6, 4], (4, 9), TensorProto.UINT8, 6 * 4 * 9),
        "ConvInteger": (["x", "w"], [1, 2, 8, 8], (3, 2, 3, 3), TensorProto.INT32, 36 * 3 * 2 * 9),
        "QLinearConv": (
            ["x", "s", "z", "w", "s", "z", "s", "z"],
            [1, 2, 8, 8],
            (3, 2, 3, 3),
            TensorProto.UINT8,
            36 * 3 * 2 * 9,
        ),
    }
    for name, (inputs, shape, weight, result, expected) in forms.items():
        nodes = [helper.make_node(name, inputs, ["y"])]
        constants = {"w": np.ones(weight, np.uint8), **(scales if "s" in inputs else {})}
        file = write(tmp_path / f"{name}.onnx", nodes, shape, kind=TensorProto.UINT8, result=result, **constants)
        assert multiply_adds(file) == expected, name


def test_shapes_that_only_a_run_tells_are_known(tmp_path):
    """A reshape by a computed shape, then a product; and what multiplies nothing counts nothing."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["rows"]),
        helper.make_node("Concat", ["rows", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("Relu", ["flat"], ["positive"]),
        helper.make_node("MatMul", ["positive", "w"], ["y"]),
    ]
    constants = {"first": np.array([0]), "rest": np.array([-1]), "w": floats(12, 5)}
    assert multiply_adds(write(tmp_path / "m.onnx", nodes, ["N", 3, 4], **constants)) == 60


def test_free_dimensions_are_one_unless_they_are_named(tmp_path):
    file = layer(tmp_path / "free.onnx", "Conv", ["N", 3, "height", "width"], floats(4, 3, 1, 1))
    assert multiply_adds(file) == 4 * 3
    assert multiply_adds(file, {"height": 5, "width": 7}) == 5 * 7 * 4 * 3


@pytest.mark.parametrize("quantised", [False, True])
def test_a_chain_has_the_work_that_its_rate_is_computed_from(tmp_path, quantised):
    onnx.save(chain_graph(8, 16, 32, quantised=quantised), tmp_path / "chain.onnx")
    assert multiply_adds(tmp_path / "chain.onnx") == roofline.CHAIN * 8 * 16 * 32


def test_what_cannot_be_counted_is_refused(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ArtifactCorrupt, match=r"noise\.onnx"):
        multiply_adds(tmp_path / "noise.onnx")
    nodes = [helper.make_node("Attention", ["x", "w"], ["y"], domain="com.microsoft", num_heads=1)]
    fused = write(tmp_path / "fused.onnx", nodes, [1, 2, 3], domain="com.microsoft", w=floats(3, 9))
    with pytest.raises(ArtifactCorrupt, match=r"Attention.*fp32"):
        multiply_adds(fused)
    wrong = layer(tmp_path / "wrong.onnx", "MatMul", ["N", 3, 4], floats(5, 6))
    with pytest.raises(ArtifactCorrupt, match=r"wrong\.onnx.*cannot run"):
        multiply_adds(wrong)


def test_peaks_are_positive_and_finite(monkeypatch):
    monkeypatch.setattr(roofline, "SHAPES", ((16, 32, 64),))
    found = peaks(1, turns=2)
    assert {"fp32", "int8"} <= found.keys() <= {"fp32", "bf16", "int8"}
    for precision, peak in found.items():
        assert math.isfinite(peak.gops)
        assert peak.gops > 0
        assert peak.name.startswith(precision)


def test_the_fastest_chain_of_a_precision_is_its_peak():
    chains = [Gemm("fp32", name, 4_000_000, lambda: None) for name in ("slow", "fast")]
    assert peaks_of(chains, {"slow": 8.0, "fast": 2.0}) == {"fp32": Peak(2.0, "fast")}


def test_the_floor_grows_with_the_work_and_falls_with_the_rate():
    assert floor_ms(17_500_000_000, Peak(200.0, "")) == pytest.approx(175.0)
    assert floor_ms(35_000_000_000, Peak(200.0, "")) == pytest.approx(350.0)
    assert floor_ms(17_500_000_000, Peak(800.0, "")) == pytest.approx(43.75)
