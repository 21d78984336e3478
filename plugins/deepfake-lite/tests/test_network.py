"""The network of ``lite``: its size, its golden numbers and its ImageNet weights."""

import pytest
import torch

from deepfake_lite.detector import Lite, LiteConfig

pytestmark = pytest.mark.torch


def test_size_and_outputs():
    detector = Lite()
    network = detector.build().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_521_922
    with torch.inference_mode():
        logit, evidence = network(torch.zeros(2, 3, 224, 224))
    assert logit.shape == (2,)
    assert evidence.shape == (2, *detector.evidence_size) == (2, 14, 14)


def test_the_backbone_is_a_setting_and_its_weights_are_optional():  # 001-1
    detector = Lite(LiteConfig(backbone="tf_efficientnet_lite1", image_size=64))
    network = detector.build().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) > 4_000_000
    with torch.inference_mode():
        logit, _ = network(torch.zeros(2, 3, 64, 64))
    assert logit.shape == (2,)
    assert {recipe.pretrained for recipe in Lite.recipes.values()} == {True, False}


def test_image_size_is_a_multiple_of_the_last_stride():
    with pytest.raises(ValueError, match="multiple"):
        LiteConfig(image_size=230)


def test_imagenet_weights_fit_and_do_something():
    detector = Lite(LiteConfig(image_size=64))
    torch.manual_seed(0)
    network = detector.build().eval()
    before = network.get_submodule("backbone.conv_stem").weight.clone()
    detector.init_pretrained(network)
    after = network.get_submodule("backbone.conv_stem").weight
    assert not torch.equal(before, after)
    torch.manual_seed(0)
    with torch.inference_mode():
        features = network.features(torch.randn(1, 3, 64, 64))[2]
    assert features.mean().item() == pytest.approx(GOLDEN_FEATURE_MEAN, abs=1e-3)


def test_evidence_is_trained_only_where_the_mask_is_known():
    detector = Lite(LiteConfig(image_size=64))
    batch = {"fake": torch.tensor([0.0, 1.0]), "weight": torch.ones(2), "mask": torch.full((2, 4, 4), torch.nan)}
    evidence = torch.randn(2, 4, 4, requires_grad=True)
    logit = torch.zeros(2, requires_grad=True)
    detector.loss((logit, evidence), batch).backward()
    assert evidence.grad is None or evidence.grad.abs().sum() == 0
    batch["mask"][1] = 1.0
    detector.loss((logit, evidence), batch).backward()
    assert evidence.grad[1].abs().sum() > 0
    assert evidence.grad[0].abs().sum() == 0


GOLDEN_FEATURE_MEAN = 0.14557
