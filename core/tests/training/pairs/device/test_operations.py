"""Each operation on a device against the one of OpenCV and libjpeg that it stands for."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch

from deepfake_core.testing import draw_face
from deepfake_core.training.data.degrade import (
    KERNELS,
    Blur,
    Colour,
    Crop,
    Degradation,
    Noise,
    Sharpening,
    Size,
    degraded,
)
from deepfake_core.training.pairs.device.degrade import chain
from deepfake_core.training.pairs.device.jpeg import jpeg, levels, tables
from deepfake_core.training.pairs.device.parcel import Parcel
from deepfake_core.training.pairs.device.precision import full_precision
from deepfake_core.training.pairs.device.resample import resize, warp

CPU = torch.device("cpu")
SIDE = 120


@cache
def pictures():
    """Drawn faces with the texture of a photograph, ``uint8 [4, 120, 120, 3]``."""
    rng = np.random.default_rng(0)
    texture = [cv2.GaussianBlur(rng.normal(0, 25, (SIDE, SIDE, 3)), (0, 0), 0.8) for _ in range(4)]
    return np.clip(np.stack([draw_face(number, SIDE) for number in range(4)]) + texture, 0, 255).astype(np.uint8)


def on_device():
    return torch.from_numpy(pictures()).permute(0, 3, 1, 2).float().contiguous()


def difference(made, wanted):
    """Mean difference in grey levels between tensors ``[n, 3, H, W]`` and arrays ``[n, H, W, 3]``."""
    return np.abs(levels(made).permute(0, 2, 3, 1).numpy() - np.stack(wanted).astype(np.float64)).mean()


@pytest.mark.parametrize("side", [120, 107])
@pytest.mark.parametrize(
    ("halved", "sampling"),
    [(True, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420), (False, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)],
)
def test_jpeg_changes_pictures_as_libjpeg_does(halved, sampling, side):
    qualities = np.array([30, 60, 80, 95])
    images, wanted = on_device()[..., :side, :side].contiguous(), []
    for picture, quality in zip(pictures()[:, :side, :side], qualities.tolist(), strict=True):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        wanted.append(cv2.imdecode(cv2.imencode(".jpg", picture[..., ::-1], options)[1], cv2.IMREAD_COLOR_RGB))
    with full_precision(CPU):
        made = jpeg(images, torch.from_numpy(tables(qualities)), halved=halved)
    assert made.shape == images.shape
    assert difference(made, wanted) < 0.5
    assert difference(images, wanted) > 3


def test_jpeg_is_exact_within_autocast():
    quantisation = torch.from_numpy(tables(np.full(4, 75)))
    with full_precision(CPU):
        wanted = jpeg(on_device(), quantisation, halved=True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16), full_precision(CPU):
            torch.testing.assert_close(jpeg(on_device(), quantisation, halved=True), wanted)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("kernel", "side"),
    [(kernel, side) for kernel in KERNELS for side in (37, 60, 119, 200) if kernel != "area" or side < SIDE],
)
def test_resizing_is_that_of_opencv(kernel, side):
    wanted = [cv2.resize(picture, (side, side), interpolation=KERNELS[kernel]) for picture in pictures()]
    with full_precision(CPU):
        assert difference(resize(on_device(), side, kernel), wanted) < 0.2


def test_an_identical_map_changes_nothing():
    identity = torch.eye(2, 3).expand(4, 2, 3)
    torch.testing.assert_close(warp(on_device(), identity, SIDE), on_device(), atol=2e-3, rtol=0)


RNG = np.random.default_rng(1)
MATRIX = (np.eye(3) + RNG.normal(0, 0.1, (2, 3, 3))).astype(np.float32)
MOVE = np.array([[[-0.8, 0.1, 0.1], [-0.1, 0.8, -0.2]], [[0.7, 0, 0], [0, 0.7, 0]]], np.float32)
CHAINS = {
    "colour": Degradation(
        colour=Colour(
            MATRIX,
            RNG.normal(0, 10, (2, 3)).astype(np.float32),
            np.array([0.1, 0], np.float32),
            np.array([1, 1.3], np.float32),
        )
    ),
    "blur": Degradation(blur=Blur(np.array([0.4, 1.5], np.float32))),
    "noise": Degradation(noise=Noise(np.array([2, 8], np.float32), np.array([[3, 50], [200, 0]], np.int32))),
    "detail of the real": Degradation(detail="real"),
    "detail of the fake": Degradation(detail="fake"),
    "smaller": Degradation(size=Size(48, "bicubic", "bilinear")),
    "larger": Degradation(size=Size(176, "area", "bicubic")),
    "sharpening": Degradation(
        sharpening=Sharpening(np.array([0.2, 1.2], np.float32), Blur(np.array([1.5, 0.5], np.float32)))
    ),
    "crop": Degradation(crop=Crop(MOVE, 1)),
    "crop, oversampled": Degradation(crop=Crop(MOVE, 2)),
    "nothing": Degradation(),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_that_of_the_host(name):
    chain_of, size = CHAINS[name], SIDE if name in ("colour", "blur", "noise", "sharpening") else 64
    # The first two pictures are the real ones, the others their fakes.
    pairs = [degraded([pictures()[place], pictures()[place + 2]], chain_of, size, place) for place in range(2)]
    parcel = Parcel()
    run = chain(chain_of, SIDE, size, parcel)
    parcel.send(CPU)
    with full_precision(CPU):
        made = run(on_device())
    assert difference(made, [pair[fake] for fake in range(2) for pair in pairs]) < 0.6
