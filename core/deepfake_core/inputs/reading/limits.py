"""How much is decoded of one file, and how large JPEG files are decoded at a reduced size."""

from __future__ import annotations

import os

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from deepfake_core.errors import DeepfakeError, InputError

MAX_PIXELS = 64_000_000
"""Default limit of the pixels that are decoded of one file.

A JPEG file of up to 16 times as many is decoded at 1/2 or 1/4 of its size. Any other larger file is refused by its
header. Decoding takes about 7 bytes per pixel at its peak, which is 450 MB at this limit, and up to 700 MB more for a
larger progressive JPEG file.
"""

LIMIT_VARIABLE = "DEEPFAKE_MAX_PIXELS"
"""Environment variable that states another limit than :data:`MAX_PIXELS` for all commands and calls."""

_RAISE = f"raise max_pixels (for a command, set {LIMIT_VARIABLE})"
# Bytes for each pixel of the limit that the decoder may hold of a progressive file: enough for 200 megapixels of a
# telephone's camera.
_HELD_BYTES = 11
# Divisors of both sides at which a JPEG file is decoded. 8 is left out: all pixels are decompressed in any case, and so
# many take longer than anybody waits.
_SCALES = (1, 2, 4)
_START_OF_SCAN = 0xDA


def pixel_limit(max_pixels: int | None = None) -> int:
    """Return a limit of pixels as given, or by default the one of the environment, or :data:`MAX_PIXELS`.

    Raises:
        DeepfakeError: The limit is not a whole number above 0.
    """
    given = os.environ.get(LIMIT_VARIABLE) if max_pixels is None else max_pixels
    if given is None or given == "":
        return MAX_PIXELS
    try:
        limit = int(given)
    except ValueError:
        limit = 0
    if limit < 1:
        name = LIMIT_VARIABLE if max_pixels is None else "max_pixels"
        raise DeepfakeError(f"{name} is {given!r}; it must be a whole number of pixels above 0, such as {MAX_PIXELS}")
    return limit


def limit_decoding(image: Image.Image, name: str, max_pixels: int, min_side: int | None) -> None:
    """Have an opened file decoded at a reduced size where that is allowed, and refuse one that is too large.

    Args:
        image: File that was opened, but not decoded.
        name: Name of the input in messages.
        max_pixels: Most pixels that are decoded.
        min_side: Number of pixels that the longer side must keep if the limit allows it; ``None`` for all of them.

    Raises:
        InputError: The file is empty, or too large also at the smallest size at which it can be decoded.
    """
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > max(MAX_PIXELS, Image.MAX_IMAGE_PIXELS):
        # Pillow's own limit, which is one for the process, gives way to a larger one that was asked for.
        Image.MAX_IMAGE_PIXELS = max_pixels
    width, height = image.size
    scale = 1
    if isinstance(image, JpegImageFile):
        fits = (scale for scale in _SCALES if -(-width // scale) * -(-height // scale) <= max_pixels)
        scale = next(fits, 1)
        if scale > 1 and _held_bytes(image) > _HELD_BYTES * max_pixels:
            raise InputError(
                name,
                f"{width} × {height} pixels in a progressive JPEG file, which is decoded as a whole: more than the "
                f"limit of {max_pixels:,} allows; save it as a plain JPEG file, or {_RAISE}",
            )
    refuse_large(image, name, max_pixels * scale**2)
    shrink = 1.0 if min_side is None else min(1.0, min_side / max(width, height))
    # A JPEG file is decoded at the smallest of its scales that keeps both sides; other files do not change.
    wanted = min(round(width * shrink), width // scale), min(round(height * shrink), height // scale)
    if wanted != image.size:
        image.draft(None, (max(1, wanted[0]), max(1, wanted[1])))


def refuse_large(image: Image.Image, name: str, max_pixels: int) -> None:
    """Refuse an image that is empty, or has more pixels than the limit.

    Args:
        image: File that was opened, but not decoded.
        name: Name of the input in messages.
        max_pixels: Most pixels that are decoded.

    Raises:
        InputError: The image is refused.
    """
    width, height = image.size
    if width < 1 or height < 1:
        raise InputError(name, f"an empty picture ({width} × {height} pixels)")
    if width * height > max_pixels:
        raise InputError(
            name, f"{width} × {height} pixels, more than the limit of {max_pixels:,}; reduce it, or {_RAISE}"
        )


def _held_bytes(image: JpegImageFile) -> int:
    """Return how many bytes the decoder holds of a JPEG file at its full size, also if it decodes it reduced.

    A file that stores the picture in several passes (a progressive one) is held as a whole: two bytes for each
    coefficient. Others are decoded row by row.

    Args:
        image: JPEG file that was opened, but not decoded.
    """
    if not (image.info.get("progressive") or _has_several_scans(image)):
        return 0
    # Each layer is its number, its horizontal and vertical sampling, and its table.
    areas = [across * down for _, across, down, _ in image.layer]
    widest = max((across for _, across, _, _ in image.layer), default=1)
    tallest = max((down for _, _, down, _ in image.layer), default=1)
    return 2 * image.width * image.height * sum(areas) // max(widest * tallest, 1)


def _has_several_scans(image: JpegImageFile) -> bool:
    """Tell whether the first scan lacks some of the colour components, so that others must follow it."""
    stream = image.fp
    if stream is None:
        return False
    place = stream.tell()
    stream.seek(2)
    components = len(image.layer)
    # Segments come one after the other: a marker of two bytes, and their length without it.
    while len(head := stream.read(5)) == 5:
        if head[1] == _START_OF_SCAN:
            components = head[4]
            break
        # A byte 0xff may fill the space before a marker.
        step = -4 if head[1] == 0xFF else int.from_bytes(head[2:4], "big") - 3
        stream.seek(step, 1)
    stream.seek(place)
    return components < len(image.layer)
