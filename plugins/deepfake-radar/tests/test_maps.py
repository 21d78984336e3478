"""Edges and spectrum against independent formulations (004-2)."""

import cv2
import numpy as np
import pytest
import torch

from deepfake_radar.maps import EdgeMap, SpectrumMap

pytestmark = pytest.mark.torch

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def images():
    """float32 [3, 3, 224, 224], each picture of another contrast, as normalised pictures are."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 3, 28, 28, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic")
    noise = torch.randn(3, 3, 224, 224, generator=generator)
    return (smooth * 4 - 2 + 0.1 * noise) * torch.tensor([0.1, 1.0, 3.0]).view(3, 1, 1, 1)


def grey(image):
    return np.tensordot(LUMA, image.double().numpy(), 1)


def test_edges_are_sobels(images):  # 004-2
    edges = EdgeMap()(images)
    assert edges.shape == (3, 1, 224, 224)
    for image, ours in zip(images, edges, strict=True):
        across, down = (
            cv2.Sobel(grey(image), cv2.CV_64F, *axes, borderType=cv2.BORDER_REPLICATE) for axes in ((1, 0), (0, 1))
        )
        magnitude = np.hypot(across, down)
        np.testing.assert_allclose(ours[0].numpy(), magnitude / magnitude.max(), atol=1e-5)


def test_every_picture_has_its_own_scale(images):  # 004-2: the maximum is taken per picture
    edges = EdgeMap()
    assert edges(images).amax((1, 2, 3)).tolist() == pytest.approx([1, 1, 1])
    alone = torch.cat([edges(image[None]) for image in images])
    torch.testing.assert_close(edges(images), alone)
    torch.testing.assert_close(edges(images[[2, 0, 1]]), alone[[2, 0, 1]])


def test_a_flat_picture_has_no_edges_and_a_gradient():
    flat = torch.full((1, 3, 32, 32), 0.7, requires_grad=True)
    edges = EdgeMap()(flat)
    assert edges.max() < 1e-3
    edges.sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_the_spectrum_is_numpys(images):  # 004-2: high-pass sigmoid((d - 14) / 10) at 112 x 112
    spectrum = SpectrumMap()(images)
    assert spectrum.shape == (3, 1, 112, 112)
    rows, columns = np.indices((112, 112)) - 56
    high_pass = 1 / (1 + np.exp(-(np.sqrt(rows**2 + columns**2) - 14) / 10))
    for image, ours in zip(images, spectrum, strict=True):
        half = grey(image).reshape(112, 2, 112, 2).mean((1, 3))
        magnitude = np.abs(np.fft.fftshift(np.fft.fft2(half)))
        np.testing.assert_allclose(ours[0].numpy(), np.log1p(magnitude * high_pass), atol=2e-4)


def test_the_shift_moves_space_and_not_the_batch(images):  # 004-2: a bare fftshift rolls the batch
    spectrum = SpectrumMap()
    alone = torch.cat([spectrum(image[None]) for image in images])
    torch.testing.assert_close(spectrum(images), alone, atol=1e-5, rtol=1e-5)
    assert (spectrum(images)[0] - alone[1]).abs().max() > 0.1


@pytest.mark.parametrize("module", [EdgeMap, SpectrumMap])
def test_mixed_precision_leaves_the_maps_exact(images, module):  # 004-2: bfloat16 would be off by .026
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module()(images)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, module()(images), atol=0, rtol=0)


def test_the_constants_are_not_stored_with_the_weights():
    assert not EdgeMap().state_dict()
    assert not SpectrumMap().state_dict()
