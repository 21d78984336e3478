from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

import deepfake_core
from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.errors import DeepfakeError, ParityError
from deepfake_exports import parity
from deepfake_exports.formats import onnx as exporter
from deepfake_exports.formats.onnx import OPSET, export_onnx, ort_run
from deepfake_exports.lowprecision import (
    by_sensitivity,
    float_nodes,
    in_float,
    quantise,
    quantised_layers,
    store_as_int8,
)
from deepfake_exports.parity import mean_p_change, scores_of
from deepfake_registry.manifest import MANIFEST_KEY, Calibration, ModelManifest

pytestmark = pytest.mark.onnxruntime

GOLDEN_LOGITS = [-1.055925, 0.799511, -0.600012, 1.020023]


def torch_logits(case, network=None):
    with torch.inference_mode():
        logit, evidence = WithPreprocess(network or case.network, case.manifest.preprocess)(
            torch.from_numpy(case.images)
        )
    return logit.numpy(), evidence.numpy()


@pytest.fixture(scope="module")
def exported(case, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return export_onnx(case.detector, case.network, case.manifest, out, calibration_images=case.images)


def test_the_file_agrees_with_the_network_at_any_batch_size(case, exported):
    want, evidence = torch_logits(case)
    run = ort_run(exported)
    for size in (1, 3, 24):
        got = run(case.images[:size])
        np.testing.assert_allclose(got.logit, want[:size], atol=1e-4)
        np.testing.assert_allclose(got.evidence, evidence[:size], atol=1e-3)


def test_golden_logits(case, exported):
    got = ort_run(exported)(case.images[:4])
    np.testing.assert_allclose(got.logit, GOLDEN_LOGITS, atol=1e-3)


def test_the_interface_is_the_contract(exported):
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape) == ("images", "tensor(uint8)", ["N", 32, 32, 3])
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("logit", "tensor(float)", ["N"]),
        ("evidence", "tensor(float)", ["N", 8, 8]),
    ]


def test_the_manifest_travels_in_the_file(case, exported):
    meta = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"]).get_modelmeta()
    assert ModelManifest.model_validate_json(meta.custom_metadata_map[MANIFEST_KEY]) == case.manifest
    assert meta.producer_name == "deepfake-core"
    proto = onnx.load(exported)
    assert proto.producer_version == "1.2.3"
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]


def test_the_bare_file_is_all_that_load_needs(case, exported):
    loaded = deepfake_core.load(exported)
    assert loaded.manifest == case.manifest
    want, evidence = torch_logits(case)
    got = loaded.score(case.images)
    np.testing.assert_allclose(got.logit, want, atol=1e-4)
    np.testing.assert_allclose(got.evidence, evidence, atol=1e-3)


def test_the_file_tells_nothing_of_the_machine_that_made_it(exported):
    assert str(Path.cwd()).encode() not in exported.read_bytes()
    assert b"stack_trace" not in exported.read_bytes()


def test_what_is_said_twice_is_said_once(case):
    class Twice(nn.Module):
        def forward(self, images):
            return (images.float().mean((1, 2, 3)) + images.float().mean((1, 2, 3)),)

    proto = exporter.trace(Twice().eval(), case.manifest.model_copy(update={"outputs": case.manifest.outputs[:1]}))
    assert sum(node.op_type == "ReduceMean" for node in proto.graph.node) == 1


def test_exporting_twice_gives_the_same_bytes(case, exported, tmp_path):
    again = export_onnx(case.detector, case.network, case.manifest, tmp_path / "again.onnx")
    assert again.read_bytes() == exported.read_bytes()


def test_a_network_without_evidence(case, tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(0))
    manifest = case.manifest.model_copy(update={"outputs": case.manifest.outputs[:1]})
    out = export_onnx(case.detector, network, manifest, tmp_path / "m.onnx")
    assert ort_run(out)(case.images[:2]).evidence is None


def test_the_network_is_left_as_it_was(case, tmp_path):
    network = type(case.network)().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_onnx(case.detector, network, case.manifest, tmp_path / "m.onnx")
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_half_storage_halves_the_file_and_keeps_the_judgement(case, exported, tmp_path):
    out = export_onnx(
        case.detector, case.network, case.manifest, tmp_path / "half.onnx",
        precision="fp16-storage", calibration_images=case.images,
    )  # fmt: skip
    assert out.stat().st_size <= 0.55 * exported.stat().st_size
    want, got = ort_run(exported)(case.images).logit, ort_run(out)(case.images).logit
    assert 0 < np.abs(want - got).max() < 1e-2


def test_runtimes_fold_the_casts_of_half_storage_away(case, tmp_path):
    out = export_onnx(case.detector, case.network, case.manifest, tmp_path / "half.onnx", precision="fp16-storage")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(out), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    assert [n.name for n in graph.node if n.op_type == "Cast"] == ["node__to_copy"]  # uint8 pixels to float
    assert all(t.data_type != onnx.TensorProto.FLOAT16 for t in graph.initializer)


@pytest.fixture(scope="module")
def int8_weights(case, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8-weights") / "model.onnx"
    return export_onnx(
        case.detector, case.network, case.manifest, out, precision="int8-weights", calibration_images=case.images
    )


def test_int8_weights_make_the_file_a_quarter_and_keep_the_judgement(case, exported, int8_weights):
    overhead = 16_000  # nodes and manifest, of which the tiny network has more than of weights
    assert int8_weights.stat().st_size - overhead <= 0.3 * exported.stat().st_size
    want, got = ort_run(exported)(case.images).logit, ort_run(int8_weights)(case.images).logit
    assert 0 < np.abs(want - got).max() < 0.1


def test_int8_weights_are_the_nearest_per_output_channel(case, exported, int8_weights):
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        for path in (exported, int8_weights)
    )
    stored = [name.removesuffix(".int8") for name in after if name.endswith(".int8")]
    layers = ["network.body.2.weight", "network.logit.weight"]
    assert set(layers) <= set(stored)
    for name in stored:
        whole, scale = after[f"{name}.int8"], after[f"{name}.scale"]
        assert whole.dtype == np.int8
        assert np.abs(whole).max(axis=tuple(range(1, whole.ndim))).tolist() == [127] * len(whole)
        assert np.abs(whole * scale - before[name]).max() <= 0.5001 * scale.max()
    assert not [name for name in stored if before[name].ndim < 2], "biases stay as they are"


def test_runtimes_unpack_int8_weights_once(int8_weights, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(int8_weights), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    assert not [n.name for n in graph.node if n.name.endswith(".unpack")]
    assert [n.name for n in graph.node if n.op_type == "Cast"] == ["node__to_copy"]
    assert all(t.data_type != onnx.TensorProto.INT8 for t in graph.initializer)


@pytest.mark.parametrize(
    ("node", "shape", "channels"),
    [
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (8, 16), 1),
        (helper.make_node("Gemm", ["x", "w"], ["y"]), (8, 16), 1),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), (16, 8), 0),
        (helper.make_node("Conv", ["x", "w"], ["y"]), (16, 2, 2, 2), 0),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), (2, 16, 2, 2), 1),
    ],
)
def test_the_output_channels_of_every_layer_are_known(node, shape, channels):
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.moveaxis(weights, channels, 0)[3] = 0
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(weights, "w")])
    stored = {t.name: numpy_helper.to_array(t) for t in store_as_int8(helper.make_model(graph)).graph.initializer}
    assert stored["w.scale"].shape == tuple(16 if axis == channels else 1 for axis in range(len(shape)))
    peaks = np.abs(np.moveaxis(stored["w.int8"], channels, 0).reshape(16, -1)).max(1)
    assert peaks.tolist() == [0 if channel == 3 else 127 for channel in range(16)]


def test_weights_beyond_float16_are_refused(case, tmp_path):
    network = type(case.network)().eval()
    nn.init.constant_(network.body[2].weight, 1e6)
    with pytest.raises(ParityError, match="fp16-storage"):
        export_onnx(case.detector, network, case.manifest, tmp_path / "m.onnx", precision="fp16-storage")
    assert list(tmp_path.iterdir()) == []


def test_auc_is_no_gate_for_untrained_weights():
    before, after = (
        np.array(logits, np.float32) for logits in ([0.001, 0.002, 0.003, 0.004], [0.001, 0.003, 0.002, 0.004])
    )
    manifest = ModelManifest.model_construct(weights="trained", calibration=Calibration())
    fake = np.array([0, 0, 1, 1])
    change = parity.change_of(before, after, fake, manifest)
    assert (change.auc, change.share_of_limit) == (0.25, 50)
    untrained = parity.change_of(before, after, fake, manifest.model_copy(update={"weights": "untrained"}))
    assert untrained.auc == 0.25
    assert untrained.share_of_limit < 0.1


def test_int8_keeps_normalisation_and_heads_in_float(case, exported, tmp_path):
    out = export_onnx(
        case.detector, case.network, case.manifest, tmp_path / "int8.onnx",
        precision="int8", calibration_images=case.images, labels=case.fake,
    )  # fmt: skip
    proto = onnx.load(out)
    makers = {name: node for node in proto.graph.node for name in node.output}
    floats = {n.name: n for n in proto.graph.node if n.name in float_nodes(onnx.load(exported))}
    assert {n.op_type for n in floats.values()} >= {"Cast", "Div", "Sub", "Gemm", "Conv"}
    for node in floats.values():
        assert all(makers[i].op_type != "DequantizeLinear" for i in node.input[1:] if i in makers)
    assert sum(n.op_type == "QuantizeLinear" for n in proto.graph.node) > 3
    meta = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"]).get_modelmeta()
    assert ModelManifest.model_validate_json(meta.custom_metadata_map[MANIFEST_KEY]) == case.manifest
    assert meta.custom_metadata_map["deepfake.precision"] == "int8"


def test_int8_needs_labelled_pictures_of_both_classes(case, tmp_path):
    arguments = (case.detector, case.network, case.manifest, tmp_path / "m.onnx")
    with pytest.raises(DeepfakeError, match="pass calibration_images and labels"):
        export_onnx(*arguments, precision="int8", calibration_images=case.images)
    with pytest.raises(DeepfakeError, match="24 calibration images but 3 labels"):
        export_onnx(*arguments, precision="int8", calibration_images=case.images, labels=case.fake[:3])
    with pytest.raises(DeepfakeError, match="both real"):
        export_onnx(*arguments, precision="int8", calibration_images=case.images, labels=np.ones(24, np.int64))
    assert list(tmp_path.iterdir()) == []


def test_a_disagreeing_file_is_refused_and_the_old_one_kept(case, tmp_path, monkeypatch):
    out = tmp_path / "model.onnx"
    out.write_bytes(b"the old model")
    trace = exporter.trace

    def damaged(model, manifest):
        proto = trace(model, manifest)
        bias = next(t for t in proto.graph.initializer if t.name == "network.logit.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 3e-2, bias.name))
        return proto

    monkeypatch.setattr(exporter, "trace", damaged)
    with pytest.raises(ParityError, match=r"logit differs from the network's by 0\.0"):
        export_onnx(case.detector, case.network, case.manifest, out)
    assert out.read_bytes() == b"the old model"
    assert list(tmp_path.iterdir()) == [out]


def test_a_detector_declares_its_own_tolerance(case, tmp_path):
    class Strict(type(case.detector)):
        logit_tolerance = 1e-12  # no runtime adds in torch's order

    with pytest.raises(ParityError, match="allowed 1e-12"):
        export_onnx(Strict(), case.network, case.manifest, tmp_path / "m.onnx", calibration_images=case.images)
    assert list(tmp_path.iterdir()) == []


def test_requests_that_cannot_be_served(case, tmp_path):
    arguments = (case.detector, case.network, case.manifest, tmp_path / "m.onnx")
    with pytest.raises(DeepfakeError, match="has no precision 'int4'"):
        export_onnx(*arguments, precision="int4")
    with pytest.raises(DeepfakeError, match=r"must be uint8 \[N, 32, 32, 3\]"):
        export_onnx(*arguments, calibration_images=np.zeros((2, 16, 16, 3), np.uint8))
    other = case.manifest.preprocess.model_copy(update={"crop": {"kind": "whole_image"}})
    with pytest.raises(DeepfakeError, match="other preprocessing"):
        export_onnx(
            case.detector, case.network, case.manifest.model_copy(update={"preprocess": other}), tmp_path / "m.onnx"
        )


def test_layers_go_back_to_float_one_by_one(case, exported, tmp_path):
    quantised, plain = quantise(exported, case.images, tmp_path)
    layers = quantised_layers(quantised)
    assert len(layers) > 1

    def logits(proto):
        onnx.checker.check_model(proto)
        (tmp_path / "trial.onnx").write_bytes(proto.SerializeToString())
        return ort_run(tmp_path / "trial.onnx")(case.images).logit

    want = ort_run(exported)(case.images).logit
    none, everything = in_float(quantised, plain, ()), in_float(quantised, plain, layers)
    assert quantised_layers(none) == layers
    assert quantised_layers(everything) == []
    drifts = [float(np.abs(logits(proto) - want).mean()) for proto in (none, everything)]
    assert drifts[1] < drifts[0] / 2  # what lies between the layers stays int8
    names = {tensor.name for tensor in everything.graph.initializer}
    assert not [name for name in names if name.endswith("weight_quantized")], "what nothing reads is gone"
    ranked = by_sensitivity(quantised, plain, lambda proto: float(np.abs(logits(proto) - want).mean()))
    assert sorted(ranked) == sorted(layers)
    best, worst = (np.abs(logits(in_float(quantised, plain, {ranked[i]})) - want).mean() for i in (0, -1))
    assert best <= worst


def test_int8_takes_back_as_many_layers_as_the_judgement_needs(case, exported, tmp_path, monkeypatch):
    def export(name):
        out = export_onnx(
            case.detector, case.network, case.manifest, tmp_path / name,
            precision="int8", calibration_images=case.images, labels=case.fake,
        )  # fmt: skip
        before, after = (scores_of(run, case.images) for run in (ort_run(exported), ort_run(out)))
        return quantised_layers(onnx.load(out)), mean_p_change(before, after, case.manifest.calibration)

    layers, change = export("loose.onnx")
    monkeypatch.setattr(parity, "MAX_MEAN_P_CHANGE", 0.9 * change)
    fewer, less = export("tight.onnx")
    assert set(fewer) < set(layers)
    assert less <= 0.9 * change
    monkeypatch.setattr(parity, "MAX_MEAN_P_CHANGE", 1e-9)
    with pytest.raises(ParityError, match=r"0 layers in float: AUC changes .*; 1 layers in float: .*on 24 pictures"):
        export("impossible.onnx")
    assert not (tmp_path / "impossible.onnx").exists()
