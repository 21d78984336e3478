"""Changes of images, made before the face finder sees them, that show how robust a detector's ranking is.

Every change takes ``uint8 [H, W, 3]`` RGB and returns such an image, or the bytes of a file.
"""

from __future__ import annotations

import functools
import io
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake_bench.records.report import ORIGINAL, RECODED

Pixels: TypeAlias = NDArray[np.uint8]
Change: TypeAlias = Callable[[Pixels], "Pixels | bytes"]
Choice: TypeAlias = Literal["quick", "full"]

RECODED_SIDE = 256
RECODED_QUALITY = 75
TIERS = {"web": (768, 60), "hard": (512, 40)}
"""Longest side in pixels and JPEG quality of what platforms make of an upload; the first tier is the image itself."""

_JPEG_LONGEST_SIDE = 65_500
_AVIF = "AVIF"
_KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_SCREEN_SIDE = 1080
_BAR = 0.08
_GREY = 38


def jpeg(pixels: Pixels, quality: int) -> bytes:
    """Return a JPEG file with 4:2:0 chroma; empty where the image is too long for one."""
    if max(pixels.shape[:2]) > _JPEG_LONGEST_SIDE:
        return b""  # becomes an error: a file that cannot be read
    return _coded(pixels, "JPEG", quality=quality, subsampling=2)


def coded(pixels: Pixels, form: str, quality: int) -> bytes:
    """Return a WebP or AVIF file; empty where the image is too large for one."""
    try:
        return _coded(pixels, form, quality=quality)
    except (OSError, ValueError):
        return b""


def _coded(pixels: Pixels, form: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """Resize by ``factor``, with an antialiased bicubic kernel."""
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return _resized(pixels, (width, height), Image.Resampling.BICUBIC)


def through(pixels: Pixels, side: int, kernel: str) -> Pixels:
    """Reduce to ``side`` pixels on the longer side and enlarge again; smaller images stay as they are."""
    height, width = pixels.shape[:2]
    small = reduced(pixels, side, kernel)
    return small if small is pixels else _resized(small, (width, height), _KERNELS[kernel])


def reduced(pixels: Pixels, side: int, kernel: str = "bicubic") -> Pixels:
    """Reduce to at most ``side`` pixels on the longer side; smaller images stay as they are."""
    height, width = pixels.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return pixels
    return _resized(pixels, (max(1, round(width * factor)), max(1, round(height * factor))), _KERNELS[kernel])


def _resized(pixels: Pixels, size: tuple[int, int], kernel: Image.Resampling) -> Pixels:
    return np.array(Image.fromarray(pixels).resize(size, kernel))


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Blur by a Gaussian with a standard deviation of ``sigma`` pixels."""
    return cast("Pixels", cv2.GaussianBlur(pixels, (0, 0), sigma))


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    """Add Gaussian noise of ``sigma``, a share of full scale; an image always gets the same noise."""
    rng = np.random.default_rng(zlib.crc32(pixels.tobytes()))
    grain = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(255 * sigma)
    return np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)


def recoded(pixels: Pixels) -> bytes:
    """Return a JPEG file whose size and encoding are the same whatever file the pixels came from."""
    return jpeg(scaled(pixels, RECODED_SIDE / max(pixels.shape[:2])), RECODED_QUALITY)


def screenshot(pixels: Pixels) -> bytes:
    """Return the screenshot of a telephone: at 0.9 of at most 1080 pixels between grey bars, JPEG quality 85."""
    shown = scaled(reduced(pixels, _SCREEN_SIDE, "bilinear"), 0.9)
    bar = np.full((max(1, round(shown.shape[0] * _BAR)), *shown.shape[1:]), _GREY, np.uint8)
    return jpeg(np.concatenate([bar, shown, bar]), 85)


def tier(pixels: Pixels, name: str) -> bytes:
    """Return what a platform makes of an upload: reduced, then encoded as JPEG; see :data:`TIERS`."""
    side, quality = TIERS[name]
    return jpeg(reduced(pixels, side), quality)


QUICK: Mapping[str, Change] = MappingProxyType(
    {
        ORIGINAL: lambda pixels: pixels,
        "jpeg_90": functools.partial(jpeg, quality=90),
        "jpeg_70": functools.partial(jpeg, quality=70),
        "jpeg_50": functools.partial(jpeg, quality=50),
        "jpeg_30": functools.partial(jpeg, quality=30),
        "resize_half": functools.partial(scaled, factor=0.5),
        "blur_1": functools.partial(blurred, sigma=1.0),
        "blur_2": functools.partial(blurred, sigma=2.0),
        RECODED: recoded,
    }
)
"""Name → change of a decoded image; the unchanged image comes first."""

FULL: Mapping[str, Change] = MappingProxyType(
    {
        **QUICK,
        **{f"jpeg_{quality}": functools.partial(jpeg, quality=quality) for quality in (100, 80, 60, 40, 20, 10)},
        **{f"webp_{quality}": functools.partial(coded, form="WEBP", quality=quality) for quality in (80, 50, 20)},
        **{f"avif_{quality}": functools.partial(coded, form=_AVIF, quality=quality) for quality in (60, 40, 20)},
        **{f"blur_{sigma:g}": functools.partial(blurred, sigma=sigma) for sigma in (0.5, 3.0)},
        **{f"noise_{sigma:g}": functools.partial(noisy, sigma=sigma) for sigma in (0.01, 0.03, 0.05, 0.1)},
        **{
            f"resize_{side}_{kernel}": functools.partial(through, side=side, kernel=kernel)
            for side in (224, 112, 64)
            for kernel in _KERNELS
        },
        "screenshot": screenshot,
        **{name: functools.partial(tier, name=name) for name in TIERS},
    }
)
"""The changes of :data:`QUICK`, more strengths, other codecs, noise, and chains of what happens to shared images."""

NOTES: Mapping[str, str] = MappingProxyType(
    {
        "jpeg": "saved once more at that quality, 4:2:0",
        "webp": "saved once more at that quality",
        "avif": "saved once more at that quality",
        "noise": "Gaussian, of that share of full scale in each channel; the same for a picture each time",
        "resize": "longer side reduced to that many pixels with that kernel, antialiased but for nearest, and enlarged "
        "again by the same; smaller pictures as they are",
        "screenshot": f"at most {_SCREEN_SIDE} px, shown at 0.9 of that between grey bars, JPEG quality 85",
        "web": f"longer side at most {TIERS['web'][0]} px, JPEG quality {TIERS['web'][1]}; a tier, as hard is, "
        "and as clean is, which is the original",
        "hard": f"longer side at most {TIERS['hard'][0]} px, JPEG quality {TIERS['hard'][1]}",
        RECODED: f"longer side {RECODED_SIDE} px, then JPEG quality {RECODED_QUALITY} 4:2:0, whatever the file was",
    }
)
"""First word of a variant's name → its meaning."""


def variants(choice: Choice) -> tuple[dict[str, Change], dict[str, str]]:
    """Return the changes that can be made here, by name, and why the others cannot."""
    Image.init()
    chosen = dict(QUICK if choice == "quick" else FULL)
    if _AVIF in Image.SAVE:
        return chosen, {}
    absent = [name for name in chosen if name.startswith("avif")]
    for name in absent:
        del chosen[name]
    reason = "this Pillow cannot write AVIF; install Pillow 11.3 or newer"
    return chosen, {"left out": f"{', '.join(absent)}: {reason}"} if absent else {}


def notes(names: Mapping[str, Change]) -> dict[str, str]:
    """Return the :data:`NOTES` on these variants."""
    families = {name.partition("_")[0] for name in names if name != "resize_half"}
    return {family: text for family, text in NOTES.items() if family in families}
