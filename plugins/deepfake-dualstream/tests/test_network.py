"""The network of ``dualstream``: its size, its streams, its fusions, what follows time, and its ImageNet weights."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from deepfake_core.discovery.plugins import detector_spec
from deepfake_core.errors import WeightsUnavailable
from deepfake_core.training.gather import check_samples
from deepfake_dualstream.config import DualStreamConfig
from deepfake_dualstream.detector import DualStreamDetector
from deepfake_dualstream.network import ConvLSTM, Features, library

pytestmark = pytest.mark.torch

SMALL = {
    "high_backbone": "b0",
    "low_backbone": "b0",
    "frames": 3,
    "size": 64,
    "low_size": 32,
    "projection": 16,
    "filters": (16, 8),
    "embedding": 16,
    "hidden": (16, 8),
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def full():
    """The documented network; on the meta device, where it costs nothing."""
    with torch.device("meta"):
        return DualStreamDetector().build()


def test_the_documented_network(full):  # 003-1, 003-2, 003-4
    assert parameters(full) == 35_552_966
    assert parameters(full.high.layers) == parameters(full.low.layers) == 6_489_600
    assert [layer.filters for layer in full.high.layers] == [256, 128]
    assert (full.high.features.name, full.low.features.name) == ("efficientnet-b4", "efficientnet-b0")
    linear = [layer for layer in full.classifier if isinstance(layer, torch.nn.Linear)]
    assert [layer.in_features for layer in linear] + [1] == [512, 256, 128, linear[-1].out_features]
    assert [layer.p for layer in full.classifier if isinstance(layer, torch.nn.Dropout)] == [0.5, 0.3]


def test_streams_see_the_documented_sizes(full):  # 003-1
    clips = torch.empty(2, 10, 3, 224, 224, device="meta")
    seen = {}
    for name in ("high", "low"):
        features = full.get_submodule(f"{name}.features")
        features.register_forward_hook(
            lambda _, given, out, name=name: seen.update({name: (given[0].shape, out.shape)})
        )
    logit, frame_logit = full(clips)
    assert seen["high"] == ((20, 3, 224, 224), (20, 1792, 7, 7))
    assert seen["low"] == ((20, 3, 112, 112), (20, 1280, 4, 4))
    assert (logit.shape, frame_logit.shape) == ((2,), (2, 10))


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [("attention", 35_552_966), ("self_attention", 35_816_389), ("concat", 35_552_709), ("gate", 35_684_037)],
)
def test_every_fusion_fits_the_documented_classifier(fusion, expected):  # 003-3
    with torch.device("meta"):
        assert parameters(DualStreamDetector(DualStreamConfig(fusion=fusion)).build()) == expected
    torch.manual_seed(0)
    network = DualStreamDetector(DualStreamConfig(**SMALL, fusion=fusion)).build().train()
    logit, frame_logit = network(torch.randn(2, 3, 3, 64, 64))
    assert torch.equal(logit, frame_logit[:, -1])
    logit.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_attention_gives_each_stream_one_weight():  # 003-3
    network = DualStreamDetector(DualStreamConfig(**SMALL)).build()
    streams = torch.randn(5, 2, 16)
    weights = network.fusion(streams) / streams
    assert torch.allclose(weights, weights[:, :, :1].expand_as(weights), atol=1e-5), "one number for a whole stream"
    assert torch.allclose(weights[:, :, 0].sum(1), torch.ones(5), atol=1e-5)


def test_backbones_filters_and_length_are_settings():  # 003-2, 003-5, 003-6
    settings = {**SMALL, "high_backbone": "b1", "filters": (8, 8, 4), "frames": 5, "stride": 2}
    detector = DualStreamDetector(DualStreamConfig(**settings))
    network = detector.build()
    assert [layer.filters for layer in network.low.layers] == [8, 8, 4]
    assert network.high.features.name == "efficientnet-b1"
    assert (detector.preprocess.clip.length, detector.preprocess.clip.stride) == (5, 2)
    assert detector.preprocess.input_shape == (5, 64, 64, 3)
    assert detector.extra_outputs[0].shape == ("N", 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 0}, "frames"),
        ({"filters": ()}, "filters"),
        ({"filters": (256, 0)}, "filters"),
        ({"filters": "256"}, "filters"),
        ({"high_backbone": "b9"}, "high_backbone"),
        ({"fusion": "sum"}, "fusion"),
        ({"low_size": 100}, "low_size=100 must divide size=224"),
        ({"dropout": (0.5,)}, "dropout needs 2 values"),
        ({"dropout": (0.5, 1.0)}, "dropout"),
        ({"fusion": "self_attention", "attention_heads": 3}, "attention_heads=3 must divide embedding=256"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings, message):  # T = 0, lists of filters
    with pytest.raises(ValidationError, match=message):
        DualStreamConfig(**settings)


def test_a_score_follows_the_frames_seen_so_far():
    torch.manual_seed(0)
    network = DualStreamDetector(DualStreamConfig(**SMALL)).build()
    clips = torch.randn(1, 3, 3, 64, 64)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        # With the statistics that normalisation begins with, an untrained network is constant.
        network.train()(clips)
        network.eval()
        changed = clips.clone()
        changed[:, -1] *= 0.5
        (_, before), (_, after), (_, swapped) = network(clips), network(changed), network(clips[:, [1, 0, 2]])
    assert torch.allclose(before[:, :-1], after[:, :-1], atol=1e-6), "a frame changed the scores of earlier ones"
    assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-5)
    assert not torch.allclose(before[:, -1], swapped[:, -1], rtol=0, atol=1e-6), (
        "the order of the frames does not matter"
    )


def test_convlstm_is_the_published_recurrence():
    """Against the equations, one position at a time, for a kernel of one pixel."""
    torch.manual_seed(0)
    layer = ConvLSTM(2, 3, kernel=1)
    sequence = torch.randn(1, 4, 2, 1, 1)
    hidden = cell = torch.zeros(3)
    weight_x, weight_h = layer.input.weight[:, :, 0, 0], layer.hidden.weight[:, :, 0, 0]
    for step in range(4):
        gates = weight_x @ sequence[0, step, :, 0, 0] + weight_h @ hidden + layer.input.bias
        enter, forget, leave, candidate = gates.chunk(4)
        cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
    assert torch.allclose(layer(sequence)[0, -1, :, 0, 0], hidden, atol=1e-6)
    assert layer.input.bias[3:6].tolist() == [1.0, 1.0, 1.0], "the forget gate begins open"


def test_recipes_and_presets_are_the_documented_ones():  # 003-6, 003-8, 003-10, 003-14
    default = DualStreamDetector.recipes["default"]
    (phase,) = default.phases
    assert (default.samples, default.batch_size, phase.lr, default.patience) == ("clips", 12, 1e-4, 10)
    assert (phase.schedule.name, phase.schedule.factor, phase.schedule.patience) == ("plateau", 0.5, 3)
    assert (default.monitor, default.mode, default.grad_clip, default.precision) == ("val_loss", "min", 1.0, "auto")
    assert default.validation_share == 0.15
    config = DualStreamConfig()
    assert (config.frames, config.stride, config.filters, config.dropout) == (10, 3, (256, 128), (0.5, 0.3))
    found = {
        name: DualStreamConfig.model_validate(DualStreamDetector.configs.get(name, {}))
        for name in ("baseline", "fast", "high-accuracy")
    }
    shape = {name: (one.high_backbone, one.low_backbone, one.frames) for name, one in found.items()}
    assert shape == {"baseline": ("b4", "b0", 10), "fast": ("b0", "b0", 8), "high-accuracy": ("b5", "b1", 12)}
    assert set(DualStreamDetector.configs) <= set(DualStreamDetector.recipes)


def test_the_documented_targets_are_stated():  # 003-14, 003-15
    targets = detector_spec("dualstream").targets
    on_data = [target for target in targets if target.metric in ("accuracy", "auc")]
    values = {(target.metric, target.value) for target in on_data}
    assert values == {
        ("accuracy", 0.96), ("auc", 0.98), ("accuracy", 0.94), ("auc", 0.96), ("accuracy", 0.98), ("auc", 0.99),
        ("auc", 0.95),
    }  # fmt: skip
    assert all("celeb-df-v2" in target.condition for target in on_data)
    (memory,) = (target for target in targets if target.metric == "gpu_memory_gb")
    assert (memory.comparison, memory.value) == ("<=", 14.0)


def test_backbones_can_be_frozen_and_recomputed():  # 003-5, 003-16
    detector = DualStreamDetector(DualStreamConfig(**SMALL))
    network = detector.build()
    groups = detector.param_groups(network)
    assert len(groups["backbone"]) == 2 * len(list(network.high.features.parameters()))
    assert all(set(phase.lr) == {"head"} for phase in detector.recipes["frozen"].phases)
    blocks = detector.checkpoint_modules(network)
    assert len(blocks) == len(network.high.features.net._blocks) + len(network.low.features.net._blocks)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch's hub, and addresses that lead nowhere."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    addresses = library().utils.url_map
    for name in ("efficientnet-b0", "efficientnet-b1"):
        file = addresses[name].rpartition("/")[2]
        monkeypatch.setitem(addresses, name, f"file://{tmp_path}/nowhere/{file}")
    (folder / "checkpoints").mkdir(parents=True)
    return folder / "checkpoints"


def test_imagenet_weights_come_from_the_cache(cache):
    detector = DualStreamDetector(DualStreamConfig(**SMALL))
    torch.manual_seed(1)
    state = Features("b0", 64).net.state_dict()
    state |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    torch.save(state, cache / Path(library().utils.url_map["efficientnet-b0"]).name)
    network = detector.build()
    detector.init_pretrained(network)
    for stream in (network.high, network.low):
        assert torch.equal(stream.features.net._conv_stem.weight, state["_conv_stem.weight"])


def test_imagenet_weights_that_are_not_there_say_what_to_do(cache):
    detector = DualStreamDetector(DualStreamConfig(**SMALL))
    network = detector.build()
    with pytest.raises(WeightsUnavailable, match=r"efficientnet-b0-355c32eb\.pth.*--set pretrained=false"):
        detector.init_pretrained(network)
    file = cache / Path(library().utils.url_map["efficientnet-b0"]).name
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsUnavailable, match="holds no weights of efficientnet-b0"):
        detector.init_pretrained(network)
    torch.save({"_conv_stem.weight": torch.zeros(1)}, file)
    with pytest.raises(WeightsUnavailable, match="holds no weights of efficientnet-b0"):
        detector.init_pretrained(network)


def test_imagenet_weights_are_downloaded_only_when_that_is_asked_for(cache, monkeypatch):
    detector = DualStreamDetector(DualStreamConfig(**SMALL))
    asked = []

    def download(url, **_options):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    with pytest.raises(WeightsUnavailable, match=r"is not here; use --download"):
        detector.init_pretrained(detector.build())
    assert not asked
    with pytest.raises(WeightsUnavailable, match="cannot be downloaded"):
        detector.init_pretrained(detector.build(), download=True)
    assert len(asked) == 1


def test_distilled_starts_from_random_weights_and_learns_from_a_teacher_of_pictures():
    recipe = DualStreamDetector.recipes["distilled"]
    assert (recipe.samples, recipe.pretrained, recipe.distil.teacher) == ("clips", False, "lite")
    check_samples(DualStreamDetector(DualStreamConfig(**DualStreamDetector.configs["distilled"])), recipe)
