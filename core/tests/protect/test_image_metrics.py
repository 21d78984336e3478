"""PSNR and SSIM follow their formulas."""

import math

import numpy as np
import pytest

from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.protect.image_metrics import psnr, ssim


def test_equal_pictures():
    face = draw_face(0)
    assert psnr(face, face) == math.inf
    assert ssim(face, face) == pytest.approx(1.0)


def test_psnr_is_its_formula():
    dark, light = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 10, np.uint8)
    assert psnr(dark, light) == pytest.approx(20 * math.log10(25.5))


def test_ssim_is_its_formula_on_flat_pictures():
    # Without variance, SSIM is the comparison of luminance: (2·x·y + c1) / (x² + y² + c1).
    dark, light = np.full((32, 32, 3), 50, np.uint8), np.full((32, 32, 3), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(dark, light) == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1), rel=1e-4)


def test_both_fall_with_noise():
    face = draw_face(1)
    rng = np.random.default_rng(0)
    noisy = [np.clip(face + rng.normal(0, sigma, face.shape), 0, 255).astype(np.uint8) for sigma in (2, 8, 32)]
    for measure in (psnr, ssim):
        values = [measure(face, other) for other in noisy]
        assert values == sorted(values, reverse=True)
