"""The network: its size, what its export contains, its groups for training, and where explainers look."""

import numpy as np
import pytest
import torch

from deepfake_core import load
from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.contract.recipe import Phase
from deepfake_core.discovery.plugins import detector_spec
from deepfake_core.errors import ArtifactCorrupt, WeightsUnavailable
from deepfake_core.explainers import load_explainer
from deepfake_siglip.config import SiglipConfig
from deepfake_siglip.detector import Siglip
from deepfake_siglip.plugin import REPOSITORY

pytestmark = pytest.mark.torch

SMALL = {"image_size": 64, "hidden": 32, "intermediate": 64, "layers": 2, "heads": 4}
GOLDEN = [-0.301724, 0.444370, -0.287898]


def small(**changes):
    return Siglip(SiglipConfig(**{**SMALL, **changes}))


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def test_the_documented_size():  # 000-5, 7
    detector = Siglip()
    with torch.device("meta"):
        network = detector.build()
        logit, logits = network(torch.zeros(1, 3, 224, 224))
    assert count(network.parameters()) == 92_885_762
    assert count(network.get_submodule("vision_model.head").parameters()) == 7_087_104
    assert (logit.shape, logits.shape) == ((1,), (1, 2))
    assert detector.preprocess.size == (224, 224)
    assert not list(network.buffers())  # so that published weights are loaded without drawing random ones first


def test_golden_numbers():
    torch.manual_seed(0)
    network = small().build().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        logit, logits = network(torch.rand(3, 3, 64, 64, generator=generator))
    np.testing.assert_allclose(logit, GOLDEN, atol=1e-5)
    torch.testing.assert_close(logits[:, 0] - logits[:, 1], logit)


def test_settings_that_make_no_network():
    for wrong in ({"image_size": 60}, {"heads": 5}, {"labels": {"real": 1, "fake": 2}}, {"activation": "relu"}):
        with pytest.raises(ValueError, match="validation error"):
            SiglipConfig(**{**SMALL, **wrong})


def test_faces_instead_of_whole_pictures():
    crop = small(margin=1.3).preprocess.crop
    assert (crop.kind, crop.margin) == ("face_crop", 1.3)


def test_the_classifier_is_trained_first_then_everything_with_a_slow_backbone():
    first, then = Siglip.recipes["default"].phases
    assert isinstance(first, Phase)
    assert set(first.lr) == {"head"}
    assert then.lr["backbone"] < then.lr["head"]
    groups = small().param_groups(small().build())
    assert count(groups["head"]) == 2 * 32 + 2


def test_training_starts_from_published_weights(published, repository, edit, cached):
    cached(REPOSITORY, published)
    detector, network = small(), small().build()
    detector.init_pretrained(network)
    found = load("siglip", device="cpu")
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        logit, _ = WithPreprocess(network.eval(), detector.preprocess)(torch.from_numpy(crops))
    np.testing.assert_allclose(logit, found.score(crops).logit, atol=1e-6)
    # Another order of the classes is turned into this network's.
    edit("config.json", id2label={"0": "real", "1": "fake"})
    swapped = small(pretrained_from=str(repository))
    swapped.init_pretrained(network)
    with torch.inference_mode():
        logit, _ = WithPreprocess(network.eval(), detector.preprocess)(torch.from_numpy(crops))
    np.testing.assert_allclose(logit, -found.score(crops).logit, atol=1e-6)
    # A tower without a classifier leaves the network's own.
    edit("config.json", architectures=["SiglipModel"])
    own = torch.nn.init.ones_(network.get_submodule("classifier").weight).detach().clone()
    small(pretrained_from=str(repository)).init_pretrained(network)
    torch.testing.assert_close(network.get_submodule("classifier").weight.detach(), own)


def test_a_start_that_is_missing_or_does_not_fit(published, cached):
    cached("org/other", published)
    with pytest.raises(WeightsUnavailable, match=f"{REPOSITORY} is not in the .*--set pretrained=false"):
        small().init_pretrained(small().build())
    wide = small(hidden=64, pretrained_from="org/other")
    with pytest.raises(ArtifactCorrupt, match=r"is \[\d+.*this network's is .* change config\.pretrained_from"):
        wide.init_pretrained(wide.build())
    deep = small(layers=3, pretrained_from="org/other")
    with pytest.raises(ArtifactCorrupt, match=r"has no vision_model\.encoder\.layers\.2"):
        deep.init_pretrained(deep.build())


def test_all_but_the_unused_pooling_head_learns():
    detector = small()
    network = detector.build()
    batch = {"fake": torch.tensor([0.0, 1.0]), "weight": torch.ones(2)}
    detector.loss(network(torch.randn(2, 3, 64, 64)), batch).backward()
    still = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert still == {name for name, _ in network.named_parameters() if name.startswith("vision_model.head.")}
    backbone = detector.param_groups(network)["backbone"]
    assert {id(parameter) for name, parameter in network.named_parameters() if name in still} <= set(map(id, backbone))


def test_explainers_see_the_patches_where_they_lie():
    detector = small(layers=1)
    torch.manual_seed(0)
    network = detector.build().eval()
    (layer,) = detector.explain_layers(network)
    seen = []
    layer.module.register_forward_hook(lambda module, inputs, output: seen.append(layer.reshape(output)))
    pixels = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        network(pixels)
        pixels[0, :, 16:32, 48:64] = 1.0  # second row of patches, last column
        network(pixels)
    before, after = seen
    assert before.shape == (1, 32, 4, 4)
    changed = (before != after).any(1)[0].nonzero().tolist()
    assert changed == [[1, 3]]


def test_attention_rollout_reads_every_layer():
    detector = load("siglip", untrained=True, config=SMALL, device="cpu")
    heat = load_explainer("rollout", detector).explain(detector, np.zeros((64, 64, 3), np.uint8))
    assert heat.shape[0] == heat.shape[1]
    assert len(detector.detector.attention_layers(detector.network)) == 2


def test_the_documented_times_are_targets():  # 000-9, 000-10, 000-11
    documented = detector_spec("siglip").targets
    targets = {(target.metric, target.condition): target.value for target in documented if target.value != 300}
    assert targets[("load_ms", "CPU")] == 11_670
    assert targets[("total_ms_p50", "CPU")] == 11_990
    assert targets[("latency_ms_p50", "CPU")] == 292.2
    assert targets[("predict_ms_p50", "CPU")] == pytest.approx(16 + 3.1 + 292.2)
    assert targets[("latency_ms_p50", "GPU: cuda")] == pytest.approx(292.2 / 5, abs=0.1)
