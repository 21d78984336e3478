"""The physical limit of a latency: how fast this machine multiplies matrices, and how much a network multiplies.

A network cannot run faster than its multiply-adds at the rate that the machine reaches on large matrices alone. That
time is its *floor*; real networks also normalise, move data and wait for memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deepfake_core.errors import ArtifactCorrupt
from deepfake_core.runtimes.onnxruntime import open_session
from deepfake_core.timing import medians_ms
from deepfake_registry.files import sha256_file

SHAPES = ((256, 768, 3072), (1024, 1024, 1024))
"""Rows, and the two widths that a chain of :data:`CHAIN` products alternates between; the faster shape counts."""
CHAIN = 4
"""Matrix products in a chain."""
TURNS = 15
"""Runs of each chain, of which the median counts."""
OPSET = 18
_WEIGHT_SCALE, _VALUE_SCALE, _ZERO_POINT = 1 / 64, 1 / 32, 128  # keep int8 values within their range, chain after chain

# Operator → where its two operands are among its inputs; integer forms have scales and zero points between them.
_PRODUCTS = {
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "DynamicQuantizeMatMul": (0, 1),
    "FusedMatMul": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "QGemm": (0, 3),
}
_CONVOLUTIONS = {"Conv": (0, 1), "ConvInteger": (0, 1), "FusedConv": (0, 1), "QLinearConv": (0, 3)}
_OTHERS = {"ConvTranspose": (0, 1), "Einsum": (0, 1)}
_OPERANDS = {**_PRODUCTS, **_CONVOLUTIONS, **_OTHERS}
_FUSED = ("Attention", "GRU", "LSTM", "MultiHeadAttention", "QAttention", "RNN")


# ── what the machine can do ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Gemm:
    """A chain of large matrix products, ready to run.

    Attributes:
        precision: ``fp32``, ``bf16`` or ``int8``.
        name: Precision, runtime and shape.
        operations: Number of multiplications and additions of one run.
        run: Function that runs the chain once.
    """

    precision: str
    name: str
    operations: int
    run: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest rate that was reached.

    Attributes:
        gops: Rate in 10⁹ operations a second; a multiply-add is two operations.
        name: Name of the chain that reached it.
    """

    gops: float
    name: str


def peaks(threads: int, *, turns: int = TURNS) -> dict[str, Peak]:
    """Measure the peak of this machine in float32, int8, and bf16 where OpenVINO and the CPU have it."""
    chains = gemms(threads)
    return peaks_of(chains, medians_ms({chain.name: chain.run for chain in chains}, turns))


def peaks_of(chains: Sequence[Gemm], ms: dict[str, float]) -> dict[str, Peak]:
    """Return the peak of each precision, given the time of each chain in ms by its name."""
    best: dict[str, Peak] = {}
    for chain in chains:
        gops = chain.operations / ms[chain.name] / 1e6
        if chain.precision not in best or gops > best[chain.precision].gops:
            best[chain.precision] = Peak(gops, chain.name)
    return best


def floor_ms(multiply_adds: int, peak: Peak) -> float:
    """Return the least time in ms that so many multiply-adds can take."""
    return 2 * multiply_adds / peak.gops / 1e6


def gemms(threads: int) -> list[Gemm]:
    """Return chains of products with random weights, in each runtime and precision that is available."""
    return [chain for shape in SHAPES for chain in _chains(shape, threads)]


def _chains(shape: tuple[int, int, int], threads: int) -> Iterator[Gemm]:
    rows, one, other = shape
    operations = 2 * CHAIN * math.prod(shape)
    values = np.random.default_rng(0).standard_normal((rows, one)).astype(np.float32)
    with TemporaryDirectory() as folder:
        for quantised in (False, True):
            file = Path(folder) / f"{quantised}.onnx"
            onnx.save(chain_graph(rows, one, other, quantised=quantised), file)
            for precision, runtime, run in _runs(file, values, quantised, threads):
                yield Gemm(precision, f"{precision} {runtime} {rows}×{one}×{other}", operations, run)


def _runs(
    file: Path, values: NDArray[np.float32], quantised: bool, threads: int
) -> Iterator[tuple[str, str, Callable[[], object]]]:
    exact = "int8" if quantised else "fp32"
    session = open_session(file, sha256_file(file), threads=threads)
    yield exact, "onnxruntime", partial(session.run, None, {"x": values})
    if find_spec("openvino") is None:
        return
    import openvino

    from deepfake_core.runtimes.openvino import computes_bf16

    core = openvino.Core()
    hints = {exact: "f32"}
    if not quantised and computes_bf16():
        hints["bf16"] = "bf16"
    for precision, hint in hints.items():
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": str(threads),
            "PERFORMANCE_HINT": "LATENCY",
        }
        request = core.compile_model(core.read_model(file), "CPU", settings).create_infer_request()
        yield precision, "openvino", partial(request.infer, {"x": values})


def chain_graph(rows: int, one: int, other: int, *, quantised: bool) -> onnx.ModelProto:
    """Return the graph of a chain: ``x`` float32 ``[rows, one]`` times random matrices, in float32 or in int8.

    Args:
        rows: Rows of ``x``.
        one: Width before the first product.
        other: Width after the first product.
        quantised: Whether products are in int8, by operators that quantise and dequantise.
    """
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {"scale": np.float32(_VALUE_SCALE), "zero": np.uint8(_ZERO_POINT)}
    nodes, value = [], "x"
    for link in range(CHAIN):
        deep, wide = (one, other) if link % 2 == 0 else (other, one)
        weight = f"weight{link}"
        if quantised:
            constants[f"int{link}"] = rng.integers(-127, 128, (deep, wide), np.int8)
            constants[f"scale{link}"] = np.full(wide, _WEIGHT_SCALE / math.sqrt(deep), np.float32)
            constants[f"zero{link}"] = np.zeros(wide, np.int8)
            nodes += [
                helper.make_node("QuantizeLinear", [value, "scale", "zero"], [f"quantised{link}"]),
                helper.make_node("DequantizeLinear", [f"quantised{link}", "scale", "zero"], [f"rounded{link}"]),
                helper.make_node("DequantizeLinear", [f"int{link}", f"scale{link}", f"zero{link}"], [weight], axis=1),
            ]
            value = f"rounded{link}"
        else:
            constants[weight] = (rng.standard_normal((deep, wide)) / math.sqrt(deep)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [value, weight], [f"product{link}"]))
        value = f"product{link}"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, one])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [rows, wide])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


# ── the work of a network ──────────────────────────────────────────────────────────────────────────────────


def multiply_adds(path: Path, free: Mapping[str, int] | None = None) -> int:
    """Count the multiply-adds of an ONNX file for a batch of 1: convolutions and matrix products, in float or integers.

    The graph is run once to learn every shape. Borders of a convolution count in full, as is usual.

    Args:
        path: ONNX file.
        free: Name of a free dimension of the input → its size, where that is not 1.

    Raises:
        ArtifactCorrupt: The file cannot be read or run, or holds products in a form that is not counted.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own errors have no common base that is public
        raise ArtifactCorrupt(f"{path}: not a readable ONNX file ({error}); export it again") from error
    nodes = [node for node in model.graph.node if node.op_type in _OPERANDS]
    if fused := sorted({node.op_type for node in model.graph.node if node.op_type in _FUSED}):
        raise ArtifactCorrupt(f"{path}: holds {', '.join(fused)}, which is not counted; count the fp32 export instead")
    shapes = _shapes(path, model, [_operands(node) for node in nodes], free or {})
    return sum(_count(node, *(shapes[name] for name in _operands(node))) for node in nodes)


def _operands(node: onnx.NodeProto) -> tuple[str, str, str]:
    """Return the names of both operands and of the result."""
    first, second = _OPERANDS[node.op_type]
    return node.input[first], node.input[second], node.output[0]


def _count(node: onnx.NodeProto, first: Sequence[int], second: Sequence[int], result: Sequence[int]) -> int:
    settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type in _PRODUCTS:
        return math.prod(result) * first[-2 if settings.get("transA") else -1]
    if node.op_type in _CONVOLUTIONS:
        return math.prod(result) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    sides = settings["equation"].decode().replace(" ", "").partition("->")[0].split(",")
    return math.prod(dict(zip("".join(sides), (*first, *second), strict=True)).values())


def _shapes(
    path: Path, model: onnx.ModelProto, wanted: Sequence[Sequence[str]], free: Mapping[str, int]
) -> dict[str, list[int]]:
    """Return the shapes of tensors in a run on zeros, by a ``Shape`` node behind each of them."""
    names = dict.fromkeys(name for group in wanted for name in group)
    for name in names:
        model.graph.node.append(helper.make_node("Shape", [name], [f"shape of {name}"]))
        model.graph.output.append(helper.make_tensor_value_info(f"shape of {name}", TensorProto.INT64, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run([f"shape of {name}" for name in names], _zeros(model.graph, free))
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise ArtifactCorrupt(f"{path}: ONNX Runtime cannot run it: {' '.join(str(error).split())}") from error
    return {name: shape.tolist() for name, shape in zip(names, found, strict=True)}


def _zeros(graph: onnx.GraphProto, free: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Return zeros for each input of the graph."""
    constants = {item.name for item in graph.initializer}
    made: dict[str, NDArray[Any]] = {}
    for item in graph.input:
        kind = item.type.tensor_type
        if item.name not in constants:
            shape = [side.dim_value or free.get(side.dim_param, 1) for side in kind.shape.dim]
            made[item.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return made
