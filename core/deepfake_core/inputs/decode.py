"""Read one image from a file, bytes, an array or a PIL image as upright ``uint8 [h, w, 3]`` RGB.

Colour modes become RGB as a viewer would show them: transparent areas become white, 16-bit values keep their high
byte, and CMYK is converted without a colour profile. Embedded profiles are not applied.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from deepfake_core.errors import InputError
from deepfake_core.inputs.sniff import HEAD_BYTES, Kind, sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    PictureSource: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image

MAX_PIXELS = 64_000_000
"""Default limit of pixels: larger images are refused by their header, before they are decoded.

Decoding takes about 7 bytes per pixel at its peak, which is 450 MB at this limit.
"""

_ORIENTATION_TAG = 0x0112
# Operation that makes an image upright, for each value of the EXIF orientation tag.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded image, upright.

    Attributes:
        pixels: ``uint8 [h, w, 3]`` RGB; at a reduced scale if that was allowed.
        source: Name of the input, as the user gave it.
        mode: Pillow's name for the colour mode of the file, such as ``"RGB"`` or ``"CMYK"``.
        width: Width of the full image as shown, in pixels.
        height: Height of the full image as shown, in pixels.
    """

    pixels: NDArray[np.uint8]
    source: str
    mode: str
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Decoded width divided by full width, in (0, 1]."""
        return float(self.pixels.shape[1] / self.width)


def name_of(source: PictureSource) -> str:
    """Return the name of an input in results and messages: its path, ``"<bytes>"``, ``"<array>"`` or ``"<image>"``.

    Bytes of a path that are not UTF-8 are escaped, so that every name can be printed.
    """
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source).encode("utf-8", "backslashreplace").decode()
    if isinstance(source, bytes):
        return "<bytes>"
    return "<array>" if isinstance(source, np.ndarray) else "<image>"


def decode(
    source: PictureSource, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None, name: str | None = None
) -> Picture:
    """Read one image as upright ``uint8 [h, w, 3]`` RGB.

    Args:
        source: Path, bytes of a file, array (``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` RGB or ``[H, W, 4]`` RGBA, of
            uint8, uint16 or float in [0, 1]) or PIL image.
        max_pixels: Images with more pixels are refused before they are decoded.
        min_side: Number of pixels that the longer side must keep when a JPEG is decoded at 1/2, 1/4 or 1/8 of its
            size; ``None`` decodes every image in full.
        name: Name of the input in messages; by default that of :func:`name_of`.

    Raises:
        InputError: The input is not a complete image of a known format within the limit.
    """
    name = name_of(source) if name is None else name
    if isinstance(source, np.ndarray):
        return _from_array(source, name, max_pixels)
    if isinstance(source, Image.Image):
        return _from_image(source, name, max_pixels, None)
    with _opened(source, name, max_pixels) as image:
        return _from_image(image, name, max_pixels, min_side)


def stored_picture(source: PictureSource, *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, int]:
    """Load an image as it is stored: in its own colour mode, not turned upright, and with the metadata of its file.

    Args:
        source: Input as for :func:`decode`, which must have read it without an error.
        max_pixels: Images with more pixels are refused before they are decoded.

    Returns:
        The image, for an animation its first one, and its EXIF orientation, which is 1 for an upright image.

    Raises:
        InputError: The input is not a complete image of a known format within the limit.
    """
    name = name_of(source)
    if isinstance(source, np.ndarray):
        return Image.fromarray(_from_array(source, name, max_pixels).pixels), 1
    if isinstance(source, Image.Image):
        return source.copy(), _orientation(source)
    with _opened(source, name, max_pixels) as image:
        _check_size(image.width, image.height, name, max_pixels)
        try:
            image.load()
        except Exception as error:
            raise InputError(name, _decode_failure(image.mode, error)) from error
        return image.copy(), _orientation(image)


def turned_back(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn upright values ``[h, w, …]`` into the orientation in which a file of that EXIF orientation stores them."""
    sideways = pixels.swapaxes(0, 1)
    turned = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: sideways,
        6: sideways[::-1],
        7: sideways[::-1, ::-1],
        8: sideways[:, ::-1],
    }
    return np.ascontiguousarray(turned.get(orientation, pixels))


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """Open a file and read its header with the decoder of its format."""
    if not isinstance(source, str | bytes | os.PathLike):
        raise InputError(name, f"cannot read a picture from {type(source).__name__}; pass a path, bytes or an array")
    with open_stream(source, name) as stream:
        kind = sniff(read_head(stream, name))
        _check_kind(kind, name)
        try:
            # No other decoder may try: Pillow has some that start programs (EPS) or are rarely exercised.
            image = Image.open(stream, formats=[kind.pillow])
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InputError(name, f"more pixels than the limit of {max_pixels:,}; reduce the picture") from error
        except Exception as error:
            raise InputError(name, f"damaged or incomplete; get the file again ({one_line(error)})") from error
        yield image


def open_stream(source: str | os.PathLike[str] | bytes, name: str) -> AbstractContextManager[IO[bytes]]:
    """Open a regular file, or wrap bytes as a stream.

    Args:
        source: Path, or bytes of a file.
        name: Name of the input in messages.

    Raises:
        InputError: The file is missing, empty, a directory or a device, or it may not be read.
    """
    if isinstance(source, bytes):
        if not source:
            raise InputError(name, "no bytes at all")
        return nullcontext(io.BytesIO(source))
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(name, "is a folder; name a file in it, or let the batch functions expand it")
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe or a device could wait or read for ever.
            raise InputError(name, "is not a regular file")
        if status.st_size == 0:
            raise InputError(name, "is empty (0 bytes); get the file again")
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(name, "no such file; check the path") from None
    except PermissionError:
        raise InputError(name, "no permission to read it; check its owner and mode") from None
    except (OSError, ValueError) as error:
        raise InputError(name, f"cannot be opened: {one_line(error)}") from error


def read_head(stream: IO[bytes], name: str) -> bytes:
    """Return the first :data:`~deepfake_core.inputs.sniff.HEAD_BYTES` bytes of a stream, and rewind it.

    Args:
        stream: Stream at its start.
        name: Name of the input in messages.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
    except OSError as error:
        raise InputError(name, f"cannot be read: {one_line(error)}") from error
    return head


def is_video(source: str | os.PathLike[str] | bytes) -> bool:
    """Return whether a file, or the bytes of one, is a video by its content; false if it cannot be read.

    Listings that open nothing use :func:`~deepfake_core.inputs.sources.has_video_suffix` instead.
    """
    name = name_of(source)
    try:
        with open_stream(source, name) as stream:
            return sniff(read_head(stream, name)).family == "video"
    except InputError:
        return False


def _check_kind(kind: Kind, name: str) -> None:
    """Raise an error that names the kind of a file that is no image; register the HEIF decoder for a HEIF file."""
    if kind.family == "heif":
        try:
            import pillow_heif
        except ImportError:
            raise InputError(name, "reading HEIC needs pillow-heif; run: pip install 'deepfake-core[heif]'") from None
        pillow_heif.register_heif_opener()
    elif kind.family == "video":
        raise InputError(name, f"looks like a video ({kind.name}), not a picture; sample its frames instead")
    elif kind.family == "other":
        raise InputError(name, f"not a picture that can be read: looks like {kind.name}")


def _from_image(image: Image.Image, name: str, max_pixels: int, min_side: int | None) -> Picture:
    """Decode an opened file, or convert a PIL image of the user."""
    mode = image.mode
    _check_size(image.width, image.height, name, max_pixels)
    try:
        full = image.size
        if min_side is not None and isinstance(image, ImageFile.ImageFile):
            shrink = min(1.0, min_side / max(full))
            # Only JPEG supports it; its scale is the smallest of 1/2, 1/4 and 1/8 that keeps both sides.
            image.draft(None, (max(1, round(full[0] * shrink)), max(1, round(full[1] * shrink))))
        reduced = image.size != full
        image.load()
        # Pillow turns a TIFF while it loads, so the sides are known only now.
        width, height = full if reduced else image.size
        orientation = _orientation(image)
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        if orientation in _SIDEWAYS:
            width, height = height, width
        pixels = _to_rgb(image)
    except Exception as error:
        raise InputError(name, _decode_failure(mode, error)) from error
    return Picture(pixels, name, mode, width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a damaged EXIF block does not make the pixels unreadable
        return 1


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a loaded image of any mode to ``uint8 [h, w, 3]`` RGB."""
    if image.mode.startswith("I;16"):
        return _grey_to_rgb((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return _grey_to_rgb(_wide_grey(np.asarray(image, np.float64)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _wide_grey(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert grey ``float64 [h, w]`` to ``uint8 [h, w]``; its range is the smallest of 1, 255 and 65535 that fits."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(values.max())
    top = next((limit for limit in (1.0, 255.0, 65535.0) if peak <= limit), peak)
    return np.asarray((values.clip(0, top) * (255.0 / top)).round(), np.uint8)


def _grey_to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)


def _from_array(array: NDArray[Any], name: str, max_pixels: int) -> Picture:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        raise InputError(name, f"array of shape {array.shape}; pass [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]")
    height, width = array.shape[:2]
    _check_size(width, height, name, max_pixels)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        # The condition is negated so that NaN fails too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise InputError(name, "float array outside of [0, 1]; divide by its peak, or pass uint8")
        array = (array * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(name, f"array of {array.dtype}; pass uint8, uint16 or float in [0, 1]")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    if channels == 1:
        pixels = _grey_to_rgb(array.reshape(height, width))
    elif channels == 4:
        pixels = _to_rgb(Image.fromarray(np.ascontiguousarray(array)))
    else:
        pixels = np.ascontiguousarray(array)
    return Picture(pixels, name, mode, width, height)


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise InputError(name, f"an empty picture ({width} × {height} pixels)")
    if width * height > max_pixels:
        raise InputError(
            name, f"{width} × {height} pixels, more than the limit of {max_pixels:,}; reduce it or raise max_pixels"
        )


def _decode_failure(mode: str, error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it; reduce the picture"
    if isinstance(error, ValueError) and "conversion" in str(error):
        return f"colour mode {mode} cannot be shown as RGB; convert it first"
    return f"damaged or incomplete; get the file again ({one_line(error)})"


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, without paths and memory addresses."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).split(" <_io")[0]
