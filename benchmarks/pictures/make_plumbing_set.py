"""Make the images that ship inside ``deepfake_bench/data`` from one public-domain portrait.

Run from the repository root, with scikit-image and OpenCV installed::

    python benchmarks/pictures/make_plumbing_set.py

The portrait is scikit-image's ``astronaut`` (NASA, public domain). Each real view has a fake twin with the same
framing, light and JPEG quality, so nothing but the manipulation tells them apart. Fixed seed: the pictures are the
same on every run with the same library versions.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

FOLDER = Path(__file__).parents[1] / "deepfake_bench" / "data"
FACE = (224, 128, 44, 60)  # centre x, centre y and half axes of the face in the portrait, in pixels
VIEWS = 12
SIDE = 256

Pixels = NDArray[np.uint8]


def face_mask(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a soft ellipse over the face, ``float32 [H, W, 1]`` in [0, 1]."""
    x, y, half_width, half_height = FACE
    mask = np.zeros(shape[:2], np.float32)
    axes = (int(half_width * rng.uniform(0.8, 1.0)), int(half_height * rng.uniform(0.8, 1.0)))
    cv2.ellipse(mask, (x, y), axes, 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(2, 5))), np.float32)[..., None]


def self_blend(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the portrait with its face moved a little, scaled and tinted, ``uint8 [H, W, 3]`` RGB."""
    x, y, *_ = FACE
    matrix = cv2.getRotationMatrix2D((float(x), float(y)), float(rng.uniform(-4, 4)), float(rng.uniform(0.96, 1.05)))
    matrix = matrix + np.pad(rng.uniform(-3, 3, size=(2, 1)), ((0, 0), (2, 0)))
    moved = cv2.warpAffine(pixels, matrix, pixels.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    return np.clip(moved * rng.uniform(0.85, 1.15, size=3) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)


def resample(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the portrait at a fraction of its resolution, scaled up again, ``uint8 [H, W, 3]`` RGB."""
    share = float(rng.uniform(0.3, 0.5))
    small = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def mirror(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the portrait with the mirror image of its face in its place, ``uint8 [H, W, 3]`` RGB."""
    matrix = np.array([[-1.0, 0.0, 2.0 * FACE[0] + rng.uniform(-2, 2)], [0.0, 1.0, rng.uniform(-2, 2)]])
    return np.asarray(cv2.warpAffine(pixels, matrix, pixels.shape[1::-1]), np.uint8)


def view(pixels: Pixels, seed: int) -> Image.Image:
    """Return one framing and lighting of the portrait, SIDE × SIDE pixels, which depends on ``seed`` alone."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(170, 240))
    left = int(np.clip(FACE[0] - side / 2 + rng.integers(-20, 21), 0, 512 - side))
    top = int(np.clip(FACE[1] - side / 2 + rng.integers(-20, 21), 0, 512 - side))
    crop = pixels[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    lit = np.clip(crop * rng.uniform(0.75, 1.2), 0, 255).astype(np.uint8)
    return Image.fromarray(lit).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def main() -> None:
    """Write ``portrait.jpg`` and ``plumbing/{real,fake}/``."""
    portrait: Pixels = data.astronaut()
    FOLDER.mkdir(parents=True, exist_ok=True)
    Image.fromarray(portrait).save(FOLDER / "portrait.jpg", quality=92)
    shutil.rmtree(FOLDER / "plumbing", ignore_errors=True)
    for label in ("real", "fake"):
        (FOLDER / "plumbing" / label).mkdir(parents=True)
    manipulations = (self_blend, resample, mirror)
    for index in range(VIEWS):
        rng = np.random.default_rng(1000 + index)
        mask = face_mask(portrait.shape, rng)
        changed = manipulations[index % len(manipulations)](portrait, rng)
        blended = np.rint(mask * changed + (1 - mask) * portrait).astype(np.uint8)
        quality = int(rng.integers(80, 96))
        for label, pixels in (("real", portrait), ("fake", blended)):
            view(pixels, index).save(FOLDER / "plumbing" / label / f"view{index:02d}.jpg", quality=quality)


if __name__ == "__main__":
    main()
