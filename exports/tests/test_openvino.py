from __future__ import annotations

import numpy as np
import openvino
import pytest

from deepfake_core import load
from deepfake_core.discovery.artifacts import WEIGHTS_FILE, read_bare, write_package
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, ParityError
from deepfake_core.runtimes import openvino as runtime
from deepfake_core.runtimes.openvino import RT_INFO, computes_bf16
from deepfake_exports import parity
from deepfake_exports.formats import openvino as exporter
from deepfake_exports.formats.onnx import export_onnx
from deepfake_exports.formats.openvino import export_openvino, openvino_run
from deepfake_exports.parity import LabelledImages, change_of, scores_of, torch_run
from deepfake_exports.request import graph_of
from deepfake_registry.manifest import ModelManifest

pytestmark = pytest.mark.openvino


@pytest.fixture(scope="module")
def exported(case, tmp_path_factory):
    return export_openvino(
        case.detector,
        case.network,
        case.manifest,
        tmp_path_factory.mktemp("openvino") / "model.xml",
        calibration_images=case.images,
    )


@pytest.fixture
def copy(exported, tmp_path):
    """The exported files in a folder of their own."""
    for suffix in (".xml", ".bin"):
        (tmp_path / f"model{suffix}").write_bytes(exported.with_suffix(suffix).read_bytes())
    return tmp_path / "model.xml"


def reference(case):
    return torch_run(graph_of(case.network, case.manifest), case.manifest)


def test_the_files_agree_with_the_network_and_carry_its_manifest(case, exported):
    assert sorted(path.name for path in exported.parent.iterdir()) == ["model.bin", "model.xml"]
    info = openvino.Core().read_model(exported).get_rt_info([RT_INFO, "manifest"])
    assert ModelManifest.model_validate_json(info.astype(str)) == case.manifest
    want, got = reference(case)(case.images), openvino_run(exported)(case.images)
    np.testing.assert_allclose(got.logit, want.logit, atol=1e-4)
    np.testing.assert_allclose(got.evidence, want.evidence, atol=1e-3)


def test_a_bare_file_and_a_package_are_loaded(case, exported, tmp_path):
    files = {"openvino": exported, WEIGHTS_FILE["openvino"]: exported.with_suffix(".bin")}
    package = write_package(tmp_path / "package", case.manifest, files)
    want = reference(case)(case.images).logit
    for where in (exported, package.folder):
        loaded = load(where)
        assert (loaded.runtime.name, loaded.runtime.device) == ("openvino", "cpu")
        assert loaded.manifest.embedded() == case.manifest
        np.testing.assert_allclose(loaded.score(case.images).logit, want, atol=1e-4)


def test_an_onnx_file_runs_in_openvino_too(case, tmp_path):
    from deepfake_exports.formats.onnx import export_onnx

    out = export_onnx(case.detector, case.network, case.manifest, tmp_path / "model.onnx")
    one, other = (load(out, backend=name, threads=1).score(case.images) for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(one.logit, other.logit, atol=1e-4)
    np.testing.assert_allclose(one.evidence, other.evidence, atol=1e-3)


def test_several_threads_may_share_it(case, exported):
    from concurrent.futures import ThreadPoolExecutor

    loaded = load(exported)
    want = [loaded.score(case.images[i : i + 1]).logit[0] for i in range(len(case.images))]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: loaded.score(case.images[i : i + 1]).logit[0], range(len(case.images))))
    assert got == want


def test_weights_that_are_not_its_own_are_refused(copy):
    weights = copy.with_suffix(".bin")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=r"model\.bin: not the weights that model\.xml was written with"):
        load(copy)
    weights.unlink()
    with pytest.raises(ArtifactCorrupt, match=r"model\.bin: missing"):
        load(copy)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<net>", "not a readable OpenVINO model"),
        ("", "not a readable OpenVINO model"),
        ('<!DOCTYPE net [<!ENTITY a "a">]><net/>', "it declares entities"),
        ("<net/>", "carries no manifest"),
    ],
)
def test_a_damaged_graph_is_refused(tmp_path, text, reason):
    (tmp_path / "model.xml").write_text(text)
    with pytest.raises(ArtifactCorrupt, match=reason):
        read_bare(tmp_path / "model.xml")


def test_a_graph_that_openvino_cannot_read_is_refused(copy):
    copy.write_text(copy.read_text().replace('type="Convolution"', 'type="Nonsense"'))
    with pytest.raises(ArtifactCorrupt, match="OpenVINO cannot load it"):
        load(copy)


def test_it_runs_on_a_cpu_only(exported):
    with pytest.raises(DeepfakeError, match="OpenVINO runs on the CPU here"):
        load(exported, backend="openvino", device="cuda")


def test_half_the_storage(case, exported, tmp_path):
    half = export_openvino(case.detector, case.network, case.manifest, tmp_path / "half.xml", precision="fp16-storage")
    sizes = [path.with_suffix(".bin").stat().st_size for path in (half, exported)]
    assert sizes[0] < 0.6 * sizes[1]
    np.testing.assert_allclose(load(half).score(case.images).logit, reference(case)(case.images).logit, atol=0.05)


def test_bfloat16_is_computed_where_the_file_asks_for_it(case, exported, tmp_path, monkeypatch):
    def hint(path):
        return load(path).runtime._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    assert hint(exported) == "f32"
    arguments = (case.detector, case.network, case.manifest, tmp_path / "bf16.xml")
    if not computes_bf16():
        with pytest.raises(DeepfakeError, match="does not compute in bfloat16"):
            export_openvino(*arguments, precision="bf16")
        return
    out = export_openvino(*arguments, precision="bf16", calibration_images=case.images)
    assert out.with_suffix(".bin").stat().st_size < 0.6 * exported.with_suffix(".bin").stat().st_size
    assert hint(out) == "bf16"
    distance = np.abs(load(out).score(case.images).logit - reference(case)(case.images).logit).max()
    assert 1e-4 < distance < 0.1
    monkeypatch.setattr(runtime, "computes_bf16", lambda: False)
    assert hint(out) == "f32"


def test_int8_judges_alike(case, exported, tmp_path):
    pytest.importorskip("nncf")
    out = export_openvino(
        case.detector,
        case.network,
        case.manifest,
        tmp_path / "int8.xml",
        precision="int8",
        calibration_images=case.images,
        labels=case.fake,
    )
    kinds = {node.get_type_name() for node in openvino.Core().read_model(out).get_ops()}
    assert "FakeQuantize" in kinds
    data = LabelledImages(case.images, case.fake)
    scores = [scores_of(run, data.images) for run in (reference(case), openvino_run(out))]
    assert change_of(*scores, data.fake, case.manifest).share_of_limit <= 1


def test_the_fastest_int8_that_judges_alike_is_taken(case, tmp_path, monkeypatch):
    pytest.importorskip("nncf")
    data = LabelledImages(case.images, case.fake)
    model = openvino.convert_model(export_onnx(case.detector, case.network, case.manifest, tmp_path / "m.onnx"))
    before = scores_of(reference(case), data.images)
    int8 = exporter._Int8(model, case.manifest, data, before, tmp_path)
    monkeypatch.setattr(exporter, "computes_bf16", lambda: True)
    monkeypatch.setattr(exporter, "medians_ms", lambda calls, _turns: dict(zip(calls, (2.0, 1.0), strict=False)))
    assert int8.fastest("tiny") == tmp_path / "1.xml"
    assert {path.name for path in tmp_path.glob("*.xml")} == {"0.xml", "1.xml"}
    monkeypatch.setattr(parity, "MAX_MEAN_P_CHANGE", 1e-9)
    tried = r"rest in f32: AUC changes .*rest in bf16: .*8 groups of layers in float: .*on 24 pictures"
    with pytest.raises(ParityError, match=tried):
        int8.fastest("tiny")


def test_a_disagreeing_file_is_refused_and_nothing_stays_behind(case, tmp_path, monkeypatch):
    real_run = openvino_run

    def shifted(path):
        run = real_run(path)
        return lambda images: run(255 - images)

    monkeypatch.setattr(exporter, "openvino_run", shifted)
    with pytest.raises(ParityError, match="openvino"):
        export_openvino(case.detector, case.network, case.manifest, tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []
