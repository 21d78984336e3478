"""What the perturbation is trained through does what real files do, and lets gradients pass."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.protect.image_metrics import psnr
from deepfake_unet.training.degrade import add_bounded, degraded, jpeg, reduced

pytestmark = pytest.mark.torch


@pytest.fixture
def face():
    return torch.from_numpy(draw_face(3)).permute(2, 0, 1)[None].float() / 255


def levels_of(images):
    return (255 * images[0].permute(1, 2, 0)).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_is_that_of_real_files(face, quality):
    data = io.BytesIO()
    Image.fromarray(levels_of(face)).save(data, "JPEG", quality=quality, subsampling=2)
    real = np.asarray(Image.open(data))
    assert psnr(real, levels_of(jpeg(face, quality))) > psnr(real, levels_of(face)) + 3
    assert psnr(real, levels_of(jpeg(face, quality))) > 36


def test_jpeg_takes_any_size(face):
    assert jpeg(face[..., :37, :50], 75).shape == (1, 3, 37, 50)


def test_the_bound_is_exact_in_levels(face):
    change = torch.full_like(face, 1.0).requires_grad_()
    protected = add_bounded(face, change, 0.03)
    difference = (255 * (protected - face)).detach()
    assert difference.abs().max() <= 7 + 1e-3
    torch.testing.assert_close(255 * protected, (255 * protected).round(), atol=1e-3, rtol=0)


def test_gradients_pass_through_everything(face):
    for change in (lambda x: jpeg(x, 60), lambda x: reduced(x, 0.5), lambda x: degraded(x[None])[0]):
        picture = face.clone().requires_grad_()
        change(picture).square().sum().backward()
        assert torch.isfinite(picture.grad).all()
        assert picture.grad.abs().sum() > 0


def test_clean_and_protected_go_the_same_way(face):
    for seed in range(12):
        one, other = degraded(torch.stack([face, face]), torch.Generator().manual_seed(seed))
        torch.testing.assert_close(one, other)
        assert one.shape == face.shape
        assert one.min() >= 0
        assert one.max() <= 1 + 1e-5
