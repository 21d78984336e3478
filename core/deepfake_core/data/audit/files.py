"""Numbers that only the file of a face knows: its format, its coding, and where the face lies in the picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from deepfake_core.errors import InputError
from deepfake_core.inputs.crop import crop_square
from deepfake_core.inputs.decode import image_factory, open_stream, read_head
from deepfake_core.inputs.sniff import sniff
from deepfake_registry.manifest import FaceCrop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_core.inputs.boxes import Box

FRAMING: tuple[str, ...] = ("face_px", "face_share", "face_x", "face_y", "face_aspect", "outside")
"""Names of the numbers that :func:`framing_features` returns, in their order."""

CODING: tuple[str, ...] = (
    "picture_px",
    "aspect",
    "format_jpeg",
    "format_png",
    "format_webp",
    "jpeg_quality",
    "chroma_subsampling",
    "bytes_per_pixel",
)
"""Names of the numbers that :func:`file_features` returns, in their order."""

# Sum of the 64 divisors of luma that JPEG's standard proposes for quality 50 (ITU-T T.81, annex K.1).
_STANDARD = 3688
_BASELINE_FORMATS = ("JPEG", "PNG", "WEBP")


def framing_features(
    box: Box | None, size: tuple[int, int], spec: FaceCrop | None, *, whole: bool = True
) -> NDArray[np.float32]:
    """Return the numbers ``float32 [6]`` named in :data:`FRAMING`; ``nan`` where there is no box.

    ``face_px``: longer side of the face box in pixels. ``face_share``: the same, divided by the longer side of the
    picture. ``face_x``, ``face_y``: centre of the box in [0, 1] of the picture. ``face_aspect``: width of the box
    divided by its height. ``outside``: share of the crop that lies beyond the picture.

    Args:
        box: Box of the face in pixels of the picture.
        size: Height and width of the picture in pixels.
        spec: Crop that is cut around the box; ``None`` for whole pictures.
        whole: Whether the picture is the whole one. Of a part that was cut around the face, the share and the place of
            the face say nothing, and are ``nan``.
    """
    if box is None:
        return np.full(len(FRAMING), np.nan, np.float32)
    height, width = size
    longer = max(box.width, box.height)
    outside = 0.0
    if spec is not None:
        left, top, side = crop_square(box, spec)
        across = max(0, min(width, left + side) - max(0, left))
        down = max(0, min(height, top + side) - max(0, top))
        outside = 1 - across * down / side**2
    placed = (longer / max(height, width), (box.x + box.width / 2) / width, (box.y + box.height / 2) / height)
    share, x, y = placed if whole else (math.nan,) * 3
    return np.array([longer, share, x, y, box.width / box.height, outside], np.float32)


def file_features(data: Path | bytes, name: str) -> NDArray[np.float32]:
    """Return the numbers ``float32 [8]`` named in :data:`CODING` of a file, of which only the header is read.

    ``picture_px``: root of the number of pixels. ``aspect``: width divided by height. ``format_jpeg`` and the like: 1
    for a file of this format, else 0. ``jpeg_quality``: quality in [0, 100] whose standard tables are nearest to the
    file's. ``chroma_subsampling`` of a JPEG file: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0. ``bytes_per_pixel``: bytes of
    the file for each pixel. What a format does not have is ``nan``; of a video, everything is.

    Args:
        data: Path of the file, or its bytes.
        name: Name of the file in messages.

    Raises:
        InputError: The file cannot be read, or is neither a picture nor a video.
    """
    with open_stream(data, name) as stream:
        kind = sniff(read_head(stream, name))
        if kind.family not in ("picture", "heif"):
            return np.full(len(CODING), np.nan, np.float32)
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        try:
            image = image_factory(kind.pillow)(stream, "")
        except Exception as error:
            raise InputError(name, "damaged or incomplete; get the file again") from error
        width, height = image.size
        quality = sampling = math.nan
        if isinstance(image, JpegImageFile):
            quality = _quality(image)
            known = get_sampling(cast("Image.Image", image))
            sampling = float(known) if known >= 0 else math.nan
        formats = [float(kind.pillow == one) for one in _BASELINE_FORMATS]
        coded = (quality, sampling, size / (width * height))
        return np.array([math.sqrt(width * height), width / height, *formats, *coded], np.float32)


def _quality(image: JpegImageFile) -> float:
    tables: dict[int, list[int]] = image.quantization
    if 0 not in tables:
        return math.nan
    scale = 100 * sum(tables[0]) / _STANDARD
    return max(0.0, 5000 / scale if scale > 100 else (200 - scale) / 2)
