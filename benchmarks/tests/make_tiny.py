"""Makes ``tiny.onnx``, which is committed so that the base install, without onnx, can be tested on it too.

Its logit is (mean pixel − 100) / 20; its evidence is the same, for each of 4 × 4 cells::

    python benchmarks/tests/make_tiny.py
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from deepfake_registry.manifest import (
    MANIFEST_KEY,
    Calibration,
    FaceCrop,
    Normalize,
    PreprocessSpec,
    Resize,
    manifest_of,
)

SIDE, CELLS = 64, 4


def tiny_model() -> onnx.ModelProto:
    """The graph, with its manifest inside."""
    manifest = manifest_of(
        name="tiny",
        architecture="tiny",
        version="1",
        weights="trained",
        evidence=(CELLS, CELLS),
        calibration=Calibration(fitted_on="nothing"),
        preprocess=PreprocessSpec(
            crop=FaceCrop(), resize=Resize(height=SIDE, width=SIDE), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1))
        ),
    )
    kernel = SIDE // CELLS
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "middle"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "all_axes"], ["logit"], keepdims=0),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[kernel] * 2, strides=[kernel] * 2),
        helper.make_node("ReduceMean", ["cells", "channel"], ["evidence"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["N", CELLS, CELLS]),
        ],
        [
            helper.make_tensor("middle", TensorProto.FLOAT, [], [100.0]),
            helper.make_tensor("scale", TensorProto.FLOAT, [], [20.0]),
            helper.make_tensor("all_axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("channel", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    return model


if __name__ == "__main__":
    onnx.save(tiny_model(), Path(__file__).with_name("tiny.onnx"))
