"""Surrogates are trained once and disturbed: what the perturbation learns from."""

import numpy as np
import pytest
import torch

from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.errors import TrainingDataError
from deepfake_unet.detector import DEFAULT, Unet, UnetConfig
from deepfake_unet.effects import PATHS, effect, pgd, trivial
from deepfake_unet.evaluate import feature_extractor
from deepfake_unet.training import protection as protection_module
from deepfake_unet.training.protection import FACE_SIDE, Protection, stripes, training_surrogates, two_sets
from deepfake_unet.training.surrogates import (
    HELD_OUT_DECODER,
    HELD_OUT_SWAPPER,
    TRAINING_DECODER,
    TRAINING_SWAPPERS,
    FeatureSurrogate,
    SwapAutoencoder,
    SwapSpec,
    SwapSurrogate,
    load_autoencoder,
    load_swapper,
)

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


def test_it_is_trained_against_generators_and_no_detector(tmp_path, monkeypatch):
    """A perturbation that disturbs detectors would hide fakes from them."""
    monkeypatch.setattr(protection_module, "TRAINING_SWAPPERS", (TINY,))
    recipe = DEFAULT.smoke()
    found = training_surrogates(Items(), recipe, tmp_path, CPU, 1.3)
    assert [surrogate.name for surrogate in found] == ["swapper 1", "autoencoder 1"]
    assert not any(isinstance(surrogate, FeatureSurrogate) for surrogate in found)
    assert "surrogates" not in UnetConfig.model_fields
    assert HELD_OUT_SWAPPER not in TRAINING_SWAPPERS
    assert HELD_OUT_DECODER != TRAINING_DECODER


def test_an_autoencoder_is_trained_once(faces, tmp_path):
    first = load_autoencoder(TRAINING_DECODER, faces, tmp_path, steps=2, device=CPU, name="a")
    again = load_autoencoder(TRAINING_DECODER, faces, tmp_path, steps=2, device=CPU, name="a")
    pictures = torch.rand(2, 3, 70, 70)
    (one,), (other,) = first.answer(pictures), again.answer(pictures)
    torch.testing.assert_close(one, other)
    assert one.shape == (2, 3, 64, 64)
    assert 0 <= one.min() <= one.max() <= 1


def test_a_tint_changes_no_structure(swapper):
    clean = 0.3 + 0.4 * torch.rand(2, 3, 32, 32)

    class Same(SwapSurrogate):
        def answer(self, images):
            return [images]

    same = Same("same", swapper.network)
    tinted = clean + torch.tensor([0.05, 0.0, -0.05])[:, None, None]
    assert same.change(clean, tinted).min() > 0.01
    assert same.change(clean, tinted, structure=True).max() < 1e-9


def test_what_repeats_is_punished():
    wave = torch.sin(torch.arange(64) / 3)[:, None].expand(2, 64, 64)[..., None].expand(2, 64, 64, 3)
    noise = torch.randn(16, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    assert stripes(wave) > 0.5
    assert stripes(wave.transpose(1, 2)) > 0.5
    assert stripes(noise[:1].expand(16, -1, -1, -1)) > 0.9
    assert stripes(noise) < 0.1


def test_features_of_a_detector_are_measured():
    pytest.importorskip("deepfake_lite")
    surrogate = feature_extractor("lite")
    pictures = torch.rand(2, 3, 64, 64)
    answers = surrogate.answer(pictures)
    assert [answer.ndim for answer in answers] == [4, 4]
    assert not any(parameter.requires_grad for parameter in surrogate.parameters())
    assert not surrogate.network.get_submodule("fuse")._forward_hooks


def test_pgd_is_the_upper_reference_and_bounded(swapper, faces):
    clean = np.concatenate(faces)
    attacked = pgd(swapper, clean, 0.03, CPU, steps=8)
    assert np.abs(attacked.astype(int) - clean).max() == 7
    random = trivial(clean, attacked)["noise"]
    found = {
        name: effect(swapper, name, "as it is", clean, changed, [1] * 4 + [0] * 4, CPU)
        for name, changed in (("PGD", attacked), ("noise", random))
    }
    assert found["PGD"].change.value > 1.5 * found["noise"].change.value
    assert found["PGD"].change.low <= found["PGD"].change.value <= found["PGD"].change.high
    assert found["PGD"].swap_psnr_db.value < found["noise"].swap_psnr_db.value
    assert found["PGD"].swap_ssim.count == 8


def test_trivial_changes_are_as_large_as_the_perturbation(faces):
    clean = np.clip(faces[0], 40, 215)
    protected = (clean + np.random.default_rng(0).integers(-5, 6, clean.shape)).astype(np.uint8)
    wanted = np.square(protected.astype(float) - clean).mean((1, 2, 3))
    for name, changed in trivial(clean, protected).items():
        found = np.square(changed.astype(float) - clean).mean((1, 2, 3))
        assert found == pytest.approx(wanted, rel=0.2), name  # whole levels


@pytest.mark.parametrize("path", PATHS)
def test_an_unchanged_picture_has_no_effect(swapper, faces, path):
    clean = faces[0]
    assert effect(swapper, "none", path, clean, clean, [1] * 4, CPU).change.value == 0
