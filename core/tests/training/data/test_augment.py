"""Policies: what they may change, that a generator decides them, and that the device does what the host does."""

import cv2
import numpy as np
import pytest
import torch

from deepfake_core.contract.recipe import RENAMED_POLICIES
from deepfake_core.errors import TrainingDataError
from deepfake_core.testing import draw_face
from deepfake_core.training.data.augment import POLICIES, DeviceAugment, Movement, Policy, policy
from deepfake_core.training.data.colour import GREY, ColourJitter
from deepfake_core.training.data.pictures import resample
from deepfake_core.training.recipes.presets import PRESETS
from deepfake_registry.manifest import Resize

pytestmark = pytest.mark.torch

SIZE = (96, 96)


def augment(name, crops, seed, **options):
    resize = Resize(height=SIZE[0], width=SIZE[1])
    return policy(name).apply(crops, np.random.default_rng(seed), SIZE, lambda crop: resample(crop, resize), **options)


@pytest.fixture(scope="module")
def face():
    return draw_face(3, 128)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_decided_by_its_generator(face, name):
    for seed in range(8):
        (first,), (second,) = augment(name, [face], seed), augment(name, [face.copy()], seed)
        assert first.shape == (*SIZE, 3)
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"none"}))
def test_a_policy_varies_and_leaves_its_input_alone(face, name):
    before = face.copy()
    results = {augment(name, [face], seed)[0].tobytes() for seed in range(12)}
    assert len(results) > 8
    np.testing.assert_array_equal(face, before)


def test_none_only_resizes(face):
    np.testing.assert_array_equal(augment("none", [face], 0)[0], resample(face, Resize(height=96, width=96)))


@pytest.mark.parametrize("name", POLICIES)
def test_all_frames_of_a_clip_change_alike(face, name):  # 003-6
    for seed in range(6):
        frames = augment(name, [face, face, face], seed)
        for frame in frames[1:]:
            np.testing.assert_array_equal(frame, frames[0])


def test_affine_codec_flips_moves_blurs_or_encodes_and_changes_colour():  # 004-14
    chosen = policy("affine-codec")
    assert chosen.flip
    assert chosen.colour.p > 0
    assert (chosen.movement.scale, chosen.movement.shift, chosen.movement.degrees) == (0.1, 0.0625, 15)
    assert chosen.quality == (60, 100)


def test_movements_turn_scale_and_shift_about_the_centre():
    image = np.zeros((65, 65, 3), np.uint8)
    image[31:34, 31:34] = 255
    still = Movement(0.0, 0.0, 180.0)
    places = {still.apply(image, np.random.default_rng(seed))[32, 32, 0] for seed in range(8)}
    assert places == {255}
    shifted = [Movement(0.0, 0.1, 0.0).apply(image, np.random.default_rng(seed)) for seed in range(40)]
    centres = [np.argwhere(moved[..., 0] > 127).mean(0) - 32 for moved in shifted]
    assert 10 < sum(not np.allclose(centre, 0, atol=0.1) for centre in centres) < 30  # about half of them
    assert 3 < np.abs(centres).max() < 7.5
    scaled = np.pad(image[28:37, 28:37], ((28, 28), (28, 28), (0, 0)))
    drawn = [Movement(0.5, 0.0, 0.0).apply(scaled, np.random.default_rng(seed)) for seed in range(30)]
    areas = [image[..., 0].sum() / 255 for image in drawn]
    assert min(areas) < 7
    assert max(areas) > 12


def test_a_quarter_is_blurred_and_a_quarter_encoded(face):
    only = Policy("blur or JPEG", quality=(40, 95))
    plain = resample(face, Resize(height=96, width=96))
    found = [only.apply([plain], np.random.default_rng(seed), SIZE, lambda x: x)[0] for seed in range(200)]
    untouched = sum(np.array_equal(image, plain) for image in found)
    edges = [cv2.Laplacian(image, cv2.CV_32F).std() for image in (plain, *found)]
    smooth = sum(edge < 0.7 * edges[0] for edge in edges)
    assert 70 < untouched < 130
    assert 25 < smooth < 75


def test_renamed_policies_have_their_new_names():
    assert set(RENAMED_POLICIES.values()) <= set(POLICIES)
    assert not set(RENAMED_POLICIES) & set(POLICIES)


def test_every_preset_names_a_policy():
    assert {recipe.augment for recipe in PRESETS.values()} <= set(POLICIES)
    with pytest.raises(TrainingDataError, match="augment='afine' is unknown; choose one of none, standard, affine"):
        policy("afine")


def test_degraded_inputs_are_square(face):
    with pytest.raises(TrainingDataError, match="square"):
        policy("degrade").apply([face], np.random.default_rng(0), (64, 96), lambda crop: crop)


def test_half_of_the_pictures_are_mirrored(face):
    plain = policy("standard")
    flip_only = type(plain)("flip", flip=True)
    results = [
        flip_only.apply([face], np.random.default_rng(seed), face.shape[:2], lambda x: x)[0] for seed in range(200)
    ]
    mirrored = sum(np.array_equal(result, face[:, ::-1]) for result in results)
    assert mirrored + sum(np.array_equal(result, face) for result in results) == 200
    assert 70 < mirrored < 130


def jittered(jitter, colour, number):
    """One colour, float [3], after the number-th draw of a jitter, in a picture of that colour's grey."""
    uniform = np.random.default_rng(number).random((1, 5))
    uniform[:, 0] = 0
    matrix, share = jitter.maps(uniform)
    return matrix[0] @ colour + share[0] * (colour @ GREY)


def test_colour_jitter_keeps_grey_grey_and_hue_keeps_brightness():
    for number in range(20):
        grey = jittered(ColourJitter(0.3, 0.3, 0.5, 0.2), np.full(3, 100.0), number)
        assert np.ptp(grey) < 1e-3
        turned = jittered(ColourJitter(0, 0, 0, 0.2), np.array([180.0, 120.0, 90.0]), number)
        assert turned @ GREY == pytest.approx(np.array([180.0, 120.0, 90.0]) @ GREY, abs=0.05)


def test_colour_jitter_stays_within_its_range():
    for number in range(50):
        level = jittered(ColourJitter(0.2, 0, 0, 0), np.full(3, 100.0), number)[0]
        assert 79.9 < level < 120.1
    matrix, share = ColourJitter(0.2, 0.2, 0.2, 0.1, p=0.0).maps(np.random.default_rng(0).random((4, 5)))
    np.testing.assert_allclose(matrix, np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-6)
    assert not share.any()


@pytest.mark.parametrize("clip", [False, True])
def test_the_device_does_what_the_host_does(clip):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (6, 3, 20, 24, 3) if clip else (6, 20, 24, 3), np.uint8)
    device = DeviceAugment("affine-codec", seed=7)
    result = device(torch.from_numpy(images), step=3).numpy()
    assert result.dtype == np.uint8
    assert result.shape == images.shape
    drawn = np.random.default_rng([7, 3, 0, 3]).random((6, 6))
    matrix, share = device.policy.colour.maps(drawn[:, 1:])
    for number, image in enumerate(images):
        if drawn[number, 0] < 0.5:
            image = image[..., ::-1, :]
        mean = (image.reshape(-1, 3).mean(0) @ GREY) * share[number]
        wanted = np.clip(image @ matrix[number].T + mean, 0, 255)
        assert np.abs(result[number] - wanted).max() < 1.01


def test_the_device_draws_by_step_and_place_alone():
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3), np.uint8))
    device = DeviceAugment("standard", seed=1)
    whole = device(images, 5)
    assert torch.equal(device(images, 5), whole)
    assert not torch.equal(device(images, 6), whole)
    places = np.arange(1, 8, 2)  # as the second of two processes would get them
    assert torch.equal(device(images[1::2], 5, places), whole[1::2])
    assert torch.equal(DeviceAugment("none", 1)(images, 5), images)


def test_what_the_device_does_is_not_done_twice(face):
    plain = type(policy("affine"))("flip and colour", flip=True, colour=policy("affine").colour)
    for seed in range(10):
        (image,) = plain.apply([face], np.random.default_rng(seed), face.shape[:2], lambda x: x, on_device=True)
        np.testing.assert_array_equal(image, face)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(224, 224), (64, 48), (128, 130)])
def test_resampling_for_training_is_that_of_inference(face, interpolation, size):
    from deepfake_core.inputs.crop import resize

    spec = Resize(height=size[0], width=size[1], interpolation=interpolation)
    view = face[3:120, 5:127]
    fast = resample(view, spec)
    assert fast.shape == (*size, 3)
    assert np.abs(fast.astype(int) - resize(np.ascontiguousarray(view), spec)).max() <= 2
