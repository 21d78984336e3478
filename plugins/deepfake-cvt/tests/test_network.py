"""The network of ``cvt``: its size, its golden numbers, its public weights, and where GradCAM looks."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.errors import DeepfakeError, WeightsUnavailable
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.loading.load import load
from deepfake_core.training.gather import check_samples
from deepfake_cvt.backbones import CVT, _cells, build
from deepfake_cvt.detector import LABELS, Cvt, CvtDetectorConfig, CvtNetwork

pytestmark = pytest.mark.torch

SMALL = {"backbone": "cvt-test", "image_size": 64}


def small(**changes) -> Cvt:
    return Cvt(CvtDetectorConfig(**{**SMALL, **changes}))


def parameters(network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("backbone", "count"), [("cvt-13", 19_613_250), ("cvt-21", 31_238_466), ("cvt-test", 57_298)])
def test_size(backbone, count):  # 001-1
    with torch.device("meta"):
        assert parameters(Cvt(CvtDetectorConfig(backbone=backbone)).build()) == count


def test_golden_numbers_of_the_small_network():
    torch.manual_seed(0)
    network = small().build().eval()
    images = torch.linspace(-2, 2, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
    with torch.inference_mode():
        np.testing.assert_allclose(network(images).numpy(), GOLDEN, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_fused_attention_is_the_same_function(training):
    from transformers.models.cvt.modeling_cvt import CvtSelfAttention

    torch.manual_seed(0)
    network = small().build().train(training)
    images = torch.randn(2, 3, 64, 64)

    def answer():
        torch.manual_seed(1)  # of the paths that training drops
        return network(images)

    fused = answer()
    layers = [module for module in network.modules() if isinstance(module, CvtSelfAttention)]
    assert len(layers) == 6
    for layer in layers:
        assert type(layer) is not CvtSelfAttention
        layer.__class__ = CvtSelfAttention
    torch.testing.assert_close(fused, answer(), atol=1e-5, rtol=1e-5)


def test_one_logit_is_the_softmax_of_two():  # 001-2
    network = small().build().eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        two = network.backbone(images).logits
        np.testing.assert_allclose(network(images).sigmoid(), two.softmax(1)[:, 0], atol=1e-6)
    assert (LABELS.real, LABELS.fake) == (1, 0)


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "test_vit.r160_in1k"])
def test_any_backbone_of_timm(name):  # 001-1
    pytest.importorskip("timm")
    detector = small(backbone=name)
    network = detector.build().eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2,)
    (layer,) = detector.explain_layers(network)
    assert layer.module in list(network.modules())
    assert 0 < sum(p.numel() for p in detector.param_groups(network)["head"]) < 1000
    assert detector.preprocess.normalize.mean == (0.5, 0.5, 0.5)


def test_a_backbone_that_nobody_knows():
    pytest.importorskip("timm")
    with pytest.raises(DeepfakeError, match=r"unknown backbone 'cvt-31'.*did you mean .*cvt-13"):
        small(backbone="cvt-31")
    with pytest.raises(ValueError, match="pretrained_from is for CvT"):
        small(backbone="resnet18", pretrained_from="somewhere")
    with pytest.raises(ValueError, match="multiple"):
        small(image_size=100)


def test_preprocessing_is_the_same_every_time():  # 001-4
    detector = Cvt()
    assert detector.preprocess.size == (256, 256)
    preparer = Preparer(detector.preprocess)
    first, again = (preparer.prepare(draw_face(1)).crops for _ in range(2))
    assert first.shape[1:] == (256, 256, 3)
    np.testing.assert_array_equal(first, again)


def test_whole_pictures_when_asked():
    preparer = Preparer(small(crop="whole").preprocess)
    picture = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    np.testing.assert_array_equal(preparer.prepare(picture).crops[0], picture)  # even though it shows no face


def test_the_smaller_settings_in_use_have_recipes():  # 001-9
    made = {name: recipe for name, recipe in Cvt.recipes.items() if name.startswith("two-phase-")}
    assert {(r.batch_size, *(p.epochs for p in r.phases)) for r in made.values()} == {
        (4, 1, 1), (5, 5, 5), (32, 10, 10), (32, 25, 15),
    }  # fmt: skip
    slow = {name: recipe.phases[1].lr["backbone"] for name, recipe in made.items()}
    assert slow == {name: 1e-4 if name == "two-phase-25+15" else 1e-5 for name in made}


def test_recipes_of_the_source():  # 001-8, 001-9, 001-13, 001-14
    recipe = Cvt.recipes["default"]
    head, all_of_it = recipe.phases
    assert (recipe.batch_size, head.epochs, all_of_it.epochs, recipe.seed) == (64, 3, 5, 42)
    assert head.lr == {"head": 1e-3}, "the backbone is frozen"
    assert all_of_it.lr == {"head": 1e-3, "backbone": 1e-5}
    assert (all_of_it.schedule.name, all_of_it.schedule.warmup > 0) == ("cosine", True)
    assert (recipe.monitor, recipe.mode, recipe.explain, recipe.pretrained) == ("auc", "max", 20, True)
    assert not Cvt.recipes["smoke"].pretrained


def test_the_first_phase_moves_the_head_alone_and_the_second_everything():  # 001-13, 001-14
    from deepfake_core.training.loop.optim import freeze

    detector = small()
    network = detector.build()
    learning = []
    for phase in Cvt.recipes["default"].phases:
        freeze(network, detector.param_groups(network), phase)
        learning.append({name for name, parameter in network.named_parameters() if parameter.requires_grad})
    assert learning[0] == {"backbone.classifier.weight", "backbone.classifier.bias"}
    assert learning[1] == {name for name, _ in network.named_parameters()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder as the Hub's repository is, but with a network of the small size and three labels."""
    from transformers import CvtConfig, CvtForImageClassification

    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("repository")
    CvtForImageClassification(CvtConfig(num_labels=3, **CVT["cvt-test"])).save_pretrained(folder)
    return folder


def test_public_weights_leave_the_head_alone(repository):  # 001-1
    detector = small(pretrained_from=str(repository))
    network = detector.build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    detector.init_pretrained(network)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed, "no weight was loaded"
    assert not any("classifier" in name for name in changed)
    assert "backbone.cvt.encoder.stages.2.cls_token" in changed


def test_weights_that_do_not_fit_or_are_not_there(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", str(True))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    for source, reason in ((tmp_path / "nowhere", "pretrained=false"), ("nobody/nothing", "cannot be had")):
        detector = small(pretrained_from=str(source))
        with pytest.raises(WeightsUnavailable, match=reason):
            detector.init_pretrained(detector.build())
    bigger = Cvt(CvtDetectorConfig(backbone="cvt-13", image_size=64, pretrained_from=str(repository)))
    with torch.device("meta"):
        network = bigger.build()
    with pytest.raises(WeightsUnavailable, match="the backbone that fits"):
        bigger.init_pretrained(network)
    (repository / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(WeightsUnavailable, match="kind 'vit'"):
        small(pretrained_from=str(repository)).init_pretrained(network)


def test_cells_lie_where_their_tokens_do():
    tokens = torch.arange(10.0).view(1, 10, 1)  # a class token, then 3 × 3 places
    np.testing.assert_array_equal(_cells(tokens)[0, 0], np.arange(1, 10).reshape(3, 3))


def test_attention_rollout_is_for_plain_vision_transformers():
    pytest.importorskip("timm")
    from deepfake_core.explainers import load_explainer

    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    plain = load("cvt", untrained=True, config={"backbone": "test_vit.r160_in1k", "image_size": 64}, device="cpu")
    heat = load_explainer("rollout", plain).explain(plain, crop)
    assert (heat.shape, heat.dtype) == ((64, 64), np.float32)
    assert heat.min() < 0.1 < 0.5 < heat.max()
    convolutional = load("cvt", untrained=True, config=SMALL, device="cpu")
    with pytest.raises(DeepfakeError, match="names no layers of attention"):
        load_explainer("rollout", convolutional).explain(convolutional, crop)


def test_gradcam_sees_something_before_the_last_layer_and_nothing_behind_it():  # 001-21
    pytest.importorskip("pytorch_grad_cam")
    from deepfake_core.contract.detector import ExplainLayer
    from deepfake_core.explainers import load_explainer

    loaded = load("cvt", untrained=True, config=SMALL, device="cpu")
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    explainer = load_explainer("gradcam", loaded)
    heats = []
    for explainer.target in ("fake", "real"):
        heats.append(explainer.explain(loaded, crop))
    assert max(heat.max() for heat in heats) > 0.9
    assert not np.array_equal(*heats)

    last = loaded.network.get_submodule("backbone.cvt.encoder.stages.2.layers.2")
    loaded.detector.explain_layers = lambda _: (ExplainLayer(last, _cells),)
    try:
        assert not explainer.explain(loaded, crop).any(), "only the class token of the output is read"
    finally:
        del loaded.detector.explain_layers


GOLDEN = [0.0072398, 0.0213583]


@pytest.mark.parametrize("backbone", ["cvt-test", "test_vit"])
def test_public_weights_are_looked_for_in_the_network_only_when_that_is_asked_for(backbone, tmp_path, monkeypatch):
    if backbone not in CVT:
        pytest.importorskip("timm")
    asked = []

    def look_up(host, *_arguments, **_options):
        asked.append(host)
        raise OSError("no network")

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("socket.getaddrinfo", look_up)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    detector = small(backbone=backbone, pretrained_from="nobody/nothing" if backbone in CVT else "")
    with pytest.raises(WeightsUnavailable, match="--download"):
        detector.init_pretrained(detector.build())
    assert not asked


def test_weights_of_timm_come_from_the_cache_of_the_hub(tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    stored = timm.create_model("test_vit", num_classes=1000)
    name = timm.get_pretrained_cfg("test_vit").hf_hub_id
    folder = tmp_path / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(stored.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    detector = small(backbone="test_vit", image_size=160)
    network = detector.build()
    detector.init_pretrained(network)
    assert torch.equal(network.get_submodule("backbone").patch_embed.proj.weight, stored.patch_embed.proj.weight)


def test_distilled_starts_from_random_weights_and_learns_from_a_teacher_on_pairs():
    recipe = Cvt.recipes["distilled"]
    assert (recipe.samples, recipe.pretrained, recipe.distil.teacher) == ("pairs", False, "lite")
    check_samples(Cvt(), recipe)
    small = CvtNetwork(build("cvt-test", 256))  # progressive resizing gives it smaller pictures for a part of the run
    assert small(torch.zeros(2, 3, recipe.pairs.small_size, recipe.pairs.small_size)).shape == (2,)
