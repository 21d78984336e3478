"""How RADAR trains, and what leaves: recipes, preprocessing, and the small file."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deepfake_core.discovery.plugins import detector_spec
from deepfake_core.loading.load import load
from deepfake_core.training.data.augment import POLICIES
from deepfake_core.training.loop.optim import freeze
from deepfake_radar.detector import Radar

pytestmark = pytest.mark.torch


def test_the_default_recipe_is_the_published_one():  # 004-5, 004-6, 004-8
    recipe = Radar.recipes["default"]
    (phase,) = recipe.phases
    assert (phase.epochs, phase.lr, recipe.batch_size, recipe.seed) == (30, 5e-4, 64, 42)
    assert (phase.schedule.name, phase.schedule.warmup) == ("one_cycle", 0.1)
    assert (recipe.optimizer.name, recipe.optimizer.weight_decay, recipe.grad_clip) == ("adamw", 0.05, 1.0)
    assert (recipe.accumulate, recipe.patience, recipe.precision) == (2, 10, "auto")
    assert (recipe.monitor, recipe.mode, recipe.label_smoothing) == ("auc", "max", 0.1)
    assert Radar().config.dropout == 0.1
    assert recipe.pretrained


def test_fast_and_full():  # 004-11
    fast, full = Radar.recipes["fast"], Radar.recipes["full"]
    assert (fast.data_share, fast.batch_size, fast.workers, fast.phases[0].epochs) == (0.2, 256, 8, 20)
    assert (fast.compile, fast.channels_last) == (True, True)
    assert (full.data_share, full.batch_size, full.workers, full.phases[0].epochs) == (1.0, 128, 12, 30)
    for recipe in (fast, full):
        (phase,) = recipe.phases
        assert (recipe.augment, recipe.label_smoothing, recipe.accumulate, phase.lr) == ("affine-codec", 0.1, 2, 5e-4)
    assert (Radar.recipes["one-cycle-fast"], Radar.recipes["one-cycle-full"]) == (fast, full)


def test_self_blended_trains_the_head_and_then_the_upper_half_of_a_shallow_encoder():
    config = Radar.Config.model_validate({**Radar.configs["self-blended"], "img_size": 64, "init": "imagenet"})
    detector = Radar(config)
    network = detector.build()
    groups = detector.param_groups(network)
    trained = []
    for phase in Radar.recipes["self-blended"].phases:
        freeze(network, groups, phase)
        trained.append({name for name, parameter in network.named_parameters() if parameter.requires_grad})
    assert not any(name.startswith("encoder.") for name in trained[0])
    kinds = {name.split(".")[1:3][-1] for name in trained[1] if name.startswith("encoder.")}
    assert kinds == {"4", "5", "6", "7", "weight", "bias"}  # the last two are those of the last norm


def test_pictures_are_prepared_as_published():  # 004-14
    assert Radar.recipes["default"].augment in POLICIES
    spec = Radar().preprocess
    assert spec.size == (224, 224)
    assert (spec.normalize.mean, spec.normalize.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_documented_numbers_are_targets():  # 004-9, 004-12
    targets = [(t.metric, t.value, t.condition) for t in detector_spec("radar").targets]
    assert ("auc", 0.9187, "dataset: wilddeepfake") in targets
    assert ("images_per_s", 800.0, "GPU: A40; recipe: fast") in targets
    assert ("images_per_s", 500.0, "GPU: A40; recipe: full") in targets


@pytest.mark.onnxruntime
def test_the_whole_network_fits_into_25_mb(tmp_path):
    detector = load("radar", untrained=True, device="cpu")
    path = detector.export(precision="int8-weights", out=tmp_path / "radar.onnx")
    assert path.stat().st_size <= 25e6
    stored = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    for name in ("network.frequency.spectrum.basis", "network.boundary.edges.kernels"):
        constant = detector.network.get_buffer(name.removeprefix("network.")).numpy()
        np.testing.assert_array_equal(numpy_helper.to_array(stored[name]), constant)
