"""Surrogates are trained once and disturbed: what the perturbation learns from."""

import numpy as np
import pytest
import torch

from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.errors import MissingExtra, TrainingDataError
from deepfake_unet.detector import DEFAULT, Unet, UnetConfig
from deepfake_unet.effects import PATHS, brighter, effect, noise, pgd
from deepfake_unet.protection import FACE_SIDE, Protection, feature_surrogate, two_sets
from deepfake_unet.surrogates import SwapAutoencoder, SwapSpec, SwapSurrogate, load_swapper

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
TINY = SwapSpec(size=32, width=8, levels=2, latent=8)


@pytest.fixture(scope="module")
def faces():
    drawn = np.stack([draw_face(seed)[::2, ::2] for seed in range(8)])
    return drawn[:4], drawn[4:]


@pytest.fixture(scope="module")
def swapper(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return load_swapper(TINY, faces, folder, steps=30, device=CPU, name="tiny")


@pytest.mark.parametrize("upsampling", ["nearest", "transposed", "shuffle"])
def test_face_swappers_keep_the_size(upsampling):
    network = SwapAutoencoder(SwapSpec(size=32, width=8, levels=3, latent=8, upsampling=upsampling))
    pictures = torch.rand(2, 3, 32, 32)
    shown = [network(pictures, decoder) for decoder in range(2)]
    assert shown[0].shape == (2, 3, 32, 32)
    assert not torch.equal(shown[0], shown[1])


def test_face_swappers_are_trained_once(faces, tmp_path):
    first = load_swapper(TINY, faces, tmp_path, steps=3, device=CPU, name="a")
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = load_swapper(TINY, faces, tmp_path, steps=3, device=CPU, name="a")
    assert file.stat().st_mtime_ns == written
    pictures = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(first.shown(pictures, 0), again.shown(pictures, 0))
    load_swapper(TINY, faces[::-1], tmp_path, steps=3, device=CPU, name="b")
    assert len(list(tmp_path.iterdir())) == 2


def test_training_a_face_swapper_lowers_its_error(faces, swapper):
    pictures = torch.from_numpy(faces[0]).permute(0, 3, 1, 2).float() / 255
    target = torch.nn.functional.interpolate(pictures, size=(32, 32), mode="bilinear", antialias=True)
    untrained = SwapSurrogate("untrained", SwapAutoencoder(TINY))
    errors = [(one.shown(pictures, 0) - target).abs().mean() for one in (untrained, swapper)]
    assert errors[1] < errors[0]


def test_change_is_zero_for_the_same_picture_and_grows(swapper):
    pictures = torch.rand(3, 3, 32, 32)
    far = (pictures + 0.2 * torch.randn_like(pictures)).clamp(0, 1)
    assert swapper.change(pictures, pictures).tolist() == [0, 0, 0]
    assert (swapper.change(pictures, far) > swapper.change(pictures, 0.9 * pictures + 0.1 * far)).all()


def test_the_objective_rewards_disturbance(swapper):  # 002-7
    protection = Protection([swapper], 0.1, 0.01)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    change = (0.02 * torch.randn(4, 32, 32, 3)).requires_grad_()
    optimiser = torch.optim.Adam([change], lr=0.01)
    losses = []
    for step in range(25):
        torch.manual_seed(step % 5)
        loss = protection.loss(images, change)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2


def test_the_detectors_loss_has_three_parts(swapper):
    detector = Unet(UnetConfig(widths=(4, 8), image_size=32))
    network = detector.build()
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    batch = {"images": images, "fake": torch.tensor([0.0, 1, 0, 1]), "weight": torch.ones(4)}
    output = network(images.permute(0, 3, 1, 2) / 127.5 - 1)

    def gradients():
        network.zero_grad()
        detector.loss(output, batch).backward(retain_graph=True)
        return [head.weight.grad is not None and head.weight.grad.abs().sum() > 0
                for head in (network.mask, network.perturbation)]  # fmt: skip

    assert gradients() == [True, False]
    detector.protection = Protection([swapper], 0.03, 0.5)
    assert gradients() == [True, True]


class Items(TrainingSet):
    """Twelve items of one picture each, every third a fake."""

    def __len__(self):
        return 12

    def order(self, epoch):
        return np.arange(12)

    def __getitem__(self, key):
        return {
            "images": torch.full((1, 64, 64, 3), key[1], dtype=torch.uint8),
            "fake": torch.tensor([float(key[1] % 3 == 0)]),
            "weight": torch.ones(1),
        }


def test_real_faces_of_any_training_set_make_two_sets():  # 002-2
    one, other = two_sets(Items(), 1.3)
    assert one.shape == other.shape == (4, FACE_SIDE, FACE_SIDE, 3)
    assert one[:, 0, 0, 0].tolist() == [1, 4, 7, 10]


def test_no_real_faces_are_refused():
    class Fakes(Items):
        def __getitem__(self, key):
            return {**super().__getitem__(key), "fake": torch.ones(1)}

    with pytest.raises(TrainingDataError, match="two"):
        two_sets(Fakes(), 1.3)


def test_a_smoke_run_needs_no_public_weights():
    assert DEFAULT.smoke().pairs.autoencoder_steps <= 3
    assert not DEFAULT.smoke().pretrained
    assert DEFAULT.pretrained


def test_features_of_a_detector():
    pytest.importorskip("deepfake_lite")
    surrogate = feature_surrogate("lite")
    pictures = torch.rand(2, 3, 64, 64)
    answers = surrogate.answer(pictures)
    assert [answer.ndim for answer in answers] == [4, 4]
    assert not any(parameter.requires_grad for parameter in surrogate.parameters())
    assert not surrogate.network.get_submodule("fuse")._forward_hooks


def test_a_surrogate_that_is_not_there_says_what_to_install():
    with pytest.raises(MissingExtra, match=r"deepfake-unet\[train\]"):
        feature_surrogate("nothing-of-that-name")


def test_pgd_is_the_upper_reference_and_bounded(swapper, faces):
    clean = np.concatenate(faces)
    attacked = pgd(swapper, clean, 0.03, CPU, steps=8)
    random = noise(clean, 0.03)
    for changed in (attacked, random):
        assert np.abs(changed.astype(int) - clean).max() == 7
    found = {
        name: effect(swapper, name, "as it is", clean, changed, [1] * 4 + [0] * 4, CPU)
        for name, changed in (("PGD", attacked), ("noise", random))
    }
    assert found["PGD"].change.value > 1.5 * found["noise"].change.value
    assert found["PGD"].change.low <= found["PGD"].change.value <= found["PGD"].change.high
    assert found["PGD"].swap_psnr_db.value < found["noise"].swap_psnr_db.value
    assert found["PGD"].swap_ssim.count == 8


def test_brightening_is_the_reference_for_what_only_shifts_colours(faces):
    changed = brighter(faces[0], 0.03)
    dark = faces[0] <= 248
    assert (changed[dark].astype(int) - faces[0][dark] == 7).all()


@pytest.mark.parametrize("path", PATHS)
def test_an_unchanged_picture_has_no_effect(swapper, faces, path):
    clean = faces[0]
    assert effect(swapper, "none", path, clean, clean, [1] * 4, CPU).change.value == 0
