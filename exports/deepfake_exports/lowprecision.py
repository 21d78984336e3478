"""Make ONNX graphs smaller and faster: weights stored as float16 or int8, and static quantisation to int8."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deepfake_core.progress import track
from deepfake_exports.parity import spread

LARGE_FROM = 64
"""Number of elements from which an initialiser is stored in a smaller type; smaller ones are biases and constants."""
CALIBRATION_IMAGES = 256
"""Largest number of images that set the ranges of activations."""
_NORMALISATIONS = {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "Softmax"}
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def round_to_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Round each large float32 initialiser to the nearest float16, and keep it stored as float32."""
    for tensor in _large_floats(proto):
        rounded = _to_half(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return proto


def store_as_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Store each large float32 initialiser as float16 behind a Cast, which runtimes fold when they load."""
    casts = []
    for tensor in _large_floats(proto):
        name = tensor.name
        stored = f"{name}.half"
        tensor.CopyFrom(numpy_helper.from_array(_to_half(tensor), stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    return _preceded(proto, casts)


def round_to_int8(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Round the weights of each layer to int8 per output channel, and keep them stored as float32."""
    for tensor, axis in _layer_weights(proto):
        whole, scale = _to_int8(tensor, axis)
        tensor.CopyFrom(numpy_helper.from_array(whole.astype(np.float32) * scale, tensor.name))
    return proto


def store_as_int8(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights of each layer as int8 per output channel, in a graph that computes in float32.

    A Cast and a Mul unpack them; runtimes fold both when they load. DequantizeLinear would do the same, but ONNX
    Runtime replaces it by integer kernels that also round activations (MatMulNBits at accuracy level 4).
    """
    unpacking = []
    for tensor, axis in _layer_weights(proto):
        name = tensor.name
        whole, scale = _to_int8(tensor, axis)
        tensor.CopyFrom(numpy_helper.from_array(whole, f"{name}.int8"))
        proto.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        unpacking += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], name=f"{name}.cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name], name=f"{name}.unpack"),
        ]
    return _preceded(proto, unpacking)


def _preceded(proto: onnx.ModelProto, first: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Put nodes before all others of a graph, and return the graph."""
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*first, *nodes])
    return proto


def _layer_weights(proto: onnx.ModelProto) -> list[tuple[TensorProto, int]]:
    """Return the large float32 weights of layers, each once, with the axis of their output channels."""
    axes: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type in _WEIGHTED:
            axes.setdefault(node.input[1], _output_axis(node))
    return [(tensor, axes[tensor.name]) for tensor in _large_floats(proto) if tensor.name in axes]


def _output_axis(node: onnx.NodeProto) -> int:
    """Return the axis of output channels in the weights of a layer."""
    if node.op_type == "Gemm":
        return 0 if any(item.name == "transB" and item.i for item in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}[node.op_type]


def _to_int8(tensor: TensorProto, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return integers in [-127, 127] and one scale per output channel; their product is nearest to the weights."""
    weights = numpy_helper.to_array(tensor)
    others = tuple(other for other in range(weights.ndim) if other != axis % weights.ndim)
    scale = np.abs(weights).max(axis=others, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return np.rint(weights / scale).astype(np.int8), scale


def _large_floats(proto: onnx.ModelProto) -> list[TensorProto]:
    """Return the float32 initialisers with at least :data:`LARGE_FROM` elements."""
    return [
        tensor
        for tensor in proto.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE_FROM
    ]


def _to_half(tensor: TensorProto) -> NDArray[np.float16]:
    """Return a float16 copy; a value beyond its range becomes infinite, which the parity gate refuses."""
    with np.errstate(over="ignore"):
        return numpy_helper.to_array(tensor).astype(np.float16)


def quantise(plain: Path, images: NDArray[np.uint8], scratch: Path) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Quantise a float32 file to int8: static, in QDQ format, with one scale per output channel of the weights.

    Normalisation, heads and products of two activations stay in float: such products hold no weights, and in int8 they
    are no faster. Ranges are static, because with dynamic ones the score of an image would depend on the other images
    in its batch.

    Args:
        plain: The float32 ONNX file.
        images: Images ``uint8 [N, H, W, 3]`` RGB whose activations set the ranges; at most 256 are used.
        scratch: Folder for intermediate files.

    Returns:
        The quantised graph, and the float graph that it was made from, whose nodes have the same names.
    """
    # This import takes a second, and only this precision needs it.
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.registry import QDQRegistry
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Source of the images, one by one."""

        def __init__(self) -> None:
            few = spread(images, CALIBRATION_IMAGES)[:, None]
            self.feeds: Iterator[NDArray[np.uint8]] = track(few, "measuring ranges", total=len(few))

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self.feeds, None)
            return None if image is None else {"images": image}

    prepared, quantised = scratch / "prepared.onnx", scratch / "int8.onnx"
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(quantised),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Weights have 7 bits: on x86 without VNNI the 16-bit sum of two 8-bit products can overflow silently.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=sorted(set(QDQRegistry) - _NORMALISATIONS),
        nodes_to_exclude=sorted(float_nodes(onnx.load(prepared))),
        # Without this option a layer could not be put back to float; the runtime drops nodes that do nothing.
        extra_options={"QDQKeepRemovableActivations": True},
    )
    return onnx.load(quantised), onnx.load(prepared)


def quantised_layers(proto: onnx.ModelProto) -> list[str]:
    """Return the names of the layers whose weights a quantised graph holds as int8, from input to output."""
    unpacked = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    return [node.name for node in proto.graph.node if node.op_type in _WEIGHTED and node.input[1] in unpacked]


def in_float(quantised: onnx.ModelProto, plain: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """Return a copy of a quantised graph in which some layers compute in float again.

    Args:
        quantised: The quantised graph.
        plain: The float graph that it was made from; it has the float weights.
        layers: Names of these layers, out of :func:`quantised_layers`.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(quantised)
    maker = {output: node for node in proto.graph.node for output in node.output}
    before = {node.name: node for node in plain.graph.node}
    stored = {tensor.name: tensor for tensor in plain.graph.initializer}
    added = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.name not in layers:
            continue
        for place, name in enumerate(before[node.name].input):
            if node.input[place] == name:  # a bias stays: its int32 is as exact as a float
                continue
            if (constant := stored.get(name)) is not None:
                node.input[place] = name
                if name not in added:
                    proto.graph.initializer.append(constant)
                    added.add(name)
            elif (unpack := maker.get(node.input[place])) is not None and unpack.op_type == "DequantizeLinear":
                node.input[place] = maker[unpack.input[0]].input[0]
    return _pruned(proto)


def by_sensitivity(
    quantised: onnx.ModelProto, plain: onnx.ModelProto, drift: Callable[[onnx.ModelProto], float]
) -> list[str]:
    """Return the names of the quantised layers, those that cause the largest errors first.

    Args:
        quantised: The quantised graph.
        plain: The float graph that it was made from.
        drift: Function that measures the error of a graph; it is called once for each layer, on a graph in which only
            this layer computes in float.
    """
    layers = track(quantised_layers(quantised), "ranking layers")
    found = {name: drift(in_float(quantised, plain, {name})) for name in layers}
    return sorted(found, key=lambda name: found[name])


def _pruned(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the nodes and constants that no other node reads, and return the graph."""
    while True:
        read = {name for node in proto.graph.node for name in node.input} | {item.name for item in proto.graph.output}
        dead = [node for node in proto.graph.node if not read.intersection(node.output)]
        if not dead:
            break
        for node in dead:
            proto.graph.node.remove(node)
    for tensor in [tensor for tensor in proto.graph.initializer if tensor.name not in read]:
        proto.graph.initializer.remove(tensor)
    return proto


def float_nodes(proto: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes that stay in float in an int8 graph.

    These are the nodes before the first layer with weights, the nodes of each head, and the products and convolutions
    whose constants are small or absent, such as an edge filter or attention. A head is everything between an output and
    its nearest layers with weights, including these layers.
    """
    large = {tensor.name for tensor in _large_floats(proto)}
    maker = {output: node for node in proto.graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def weighted(node: onnx.NodeProto) -> bool:
        return node.op_type in _WEIGHTED and node.input[1] in large

    backward = _reach(
        [output.name for output in proto.graph.output], lambda n: [maker[n]] if n in maker else [], weighted, False
    )
    forward = _reach([entry.name for entry in proto.graph.input], lambda n: readers.get(n, []), weighted, True)
    products = [node for node in proto.graph.node if node.op_type in _WEIGHTED]
    return {node.name for node in backward} | {node.name for node in [*forward, *products] if not weighted(node)}


def _reach(
    names: list[str],
    neighbours: Callable[[str], list[onnx.NodeProto]],
    weighted: Callable[[onnx.NodeProto], bool],
    downstream: bool,
) -> list[onnx.NodeProto]:
    """Return the nodes that are reached from the tensors ``names`` without passing through a layer with weights."""
    found: list[onnx.NodeProto] = []
    while names:
        for node in neighbours(names.pop()):
            if any(node is seen for seen in found):
                continue
            found.append(node)
            if not weighted(node):
                names.extend(node.output if downstream else node.input)
    return found
