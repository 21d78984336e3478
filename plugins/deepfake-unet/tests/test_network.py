"""The network of ``unet``: its documented size, its bound and its golden numbers."""

import numpy as np
import pytest
import torch

import deepfake_core
from deepfake_core import bce, evidence_bce, evidence_overlap
from deepfake_unet.detector import Unet, UnetConfig
from deepfake_unet.network import UNet

pytestmark = pytest.mark.torch

GOLDEN = (0.13673, 0.018052, 0.0034848)


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_documented_size():  # 002-11
    detector = Unet()
    network = detector.build()
    protector = count(network.down, network.enlarge, network.up, network.perturbation)
    assert protector == 4_787_975
    assert count(network) == protector + 33 + 2 == 4_788_010 < 5_000_000


def test_outputs_are_what_the_manifest_says(detector):
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    outputs = detector.score(crops)
    assert [spec.name for spec in detector.manifest.outputs] == ["logit", "evidence", "perturbation"]
    assert outputs.evidence.shape == (2, 16, 16)
    assert outputs.extra["perturbation"].shape == (2, 64, 64, 3)


def test_the_perturbation_is_bounded_whatever_the_weights():  # 002-7
    torch.manual_seed(0)
    network = UNet((4, 8), 0.05, reduction=2).eval()
    with torch.no_grad():
        network.perturbation.weight.zero_()
        network.perturbation.bias.copy_(torch.tensor([1e4, -1e4, 0]))
        found, flat = (network(images)[2] for images in (torch.randn(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)))
    assert found.shape == (2, 16, 16, 3)
    assert 0.045 < found[..., 0].max() == -found[..., 1].min() <= 0.05
    assert found[..., 2].abs().max() == 0
    assert flat.abs().max() == pytest.approx(0.0125, rel=0.01), "a flat image takes less, where a change is seen"


def test_the_perturbation_shows_no_fine_pattern_whatever_the_weights():
    """Stripes and checkerboards of the trunk are averaged out."""
    network = UNet((4, 8), 0.05, reduction=4).eval()
    with torch.no_grad():
        network.perturbation.weight.mul_(1e4)
        found = network(torch.randn(4, 3, 64, 64))[2].permute(0, 3, 1, 2)
    power = torch.fft.fft2(found - found.mean((2, 3), keepdim=True)).abs().square().sum((0, 1))
    distance = torch.fft.fftfreq(64)
    fine = torch.hypot(distance[:, None], distance[None]) > 0.125  # cycles per pixel: finer than 8 pixels
    assert power[fine].sum() < 0.1 * power.sum()


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_a_reduced_trunk_keeps_the_sizes(reduction):
    logit, evidence, perturbation = UNet((4, 8), 0.05, reduction).eval()(torch.randn(2, 3, 32, 32))
    assert (logit.shape, evidence.shape, perturbation.shape) == ((2,), (2, 8, 8), (2, 32, 32, 3))


def test_the_score_is_pooled_from_the_map():
    network = UNet((4, 8), 0.03).eval()
    with torch.no_grad():
        network.mask.weight.zero_()
        network.mask.bias.fill_(2.5)
        logit, evidence, _ = network(torch.randn(3, 3, 16, 16))
    assert evidence.unique().tolist() == [2.5]
    torch.testing.assert_close(logit, torch.full((3,), 2.5))


def test_localise_trains_the_map_at_full_size_and_nothing_else():
    detector = Unet(UnetConfig(**Unet.configs["localise"]))
    side = Unet.recipes["localise"].pairs.small_size
    network = detector.build()
    fake, weight, mask = torch.tensor([0.0, 1.0]), torch.ones(2), torch.zeros(2, side // 4, side // 4)
    mask[1, 8:16, 8:16] = 1
    output = network(torch.randn(2, 3, side, side))
    assert output[1].shape == mask.shape
    batch = {"fake": fake, "weight": weight, "mask": mask}
    parts = (
        bce(output[0], fake, weight),
        evidence_bce(output[1], mask, weight),
        evidence_overlap(output[1], mask, weight),
    )
    detector.before_training(None, None, None, None)  # nothing to disturb
    loss = detector.loss(output, batch)
    torch.testing.assert_close(loss, parts[0] + parts[1] + 0.5 * parts[2])
    loss.backward()
    assert network.perturbation.weight.grad is None
    assert network.mask.weight.grad.abs().sum() > 0


def test_golden_numbers():
    torch.manual_seed(0)
    network = UNet((8, 16), 0.03).eval()
    with torch.inference_mode():
        logit, evidence, perturbation = network(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32))
    found = logit.item(), evidence.std().item() * 10, perturbation.abs().max().item()
    assert found == pytest.approx(GOLDEN, rel=0.02)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        UnetConfig(image_size=250)
    with pytest.raises(ValueError, match="multiple of 64"):
        UnetConfig(image_size=96)
    assert UnetConfig(image_size=96, reduction=1).image_size == 96
    for epsilon in (0.0, -0.1, 1.5):
        with pytest.raises(ValueError, match="epsilon"):
            UnetConfig(epsilon=epsilon)


def test_documented_settings():  # 002-2
    from deepfake_core.training.recipes.resolve import recipes_of

    preset = recipes_of(Unet())["mixed-precision"]
    assert (preset.batch_size, preset.phases[0].epochs, preset.precision) == (32, 50, "auto")


def test_the_documented_targets_are_stated():  # 002-10, 002-11, 002-12
    from deepfake_core.discovery.plugins import detector_spec

    targets = {(target.metric, target.condition): target.value for target in detector_spec("unet").targets}
    assert targets["latency_ms_p50", "CPU"] == 400
    assert targets["file_mb", ""] == 8
    assert targets["gpu_over_cpu", "GPU: cuda"] == 7
    assert {target.source for target in detector_spec("unet").targets} == {"documentation of the U-Net protector"}


def test_config_travels_with_the_model():
    loaded = deepfake_core.load("unet", untrained=True, device="cpu", config={"widths": [4, 8], "epsilon": 0.05})
    assert loaded.manifest.config["epsilon"] == 0.05
    assert loaded.manifest.weights == "untrained"
