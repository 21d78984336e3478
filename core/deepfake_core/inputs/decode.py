"""Read one image from a file, bytes, an array or a PIL image as upright ``uint8 [h, w, 3]`` RGB.

Colour modes become RGB as a viewer would show them: transparent areas become white, 16-bit values keep their high
byte, and CMYK is converted without a colour profile. Embedded profiles are not applied.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from deepfake_core.errors import InputError
from deepfake_core.inputs.reading.limits import MAX_PIXELS as MAX_PIXELS
from deepfake_core.inputs.reading.limits import limit_decoding, pixel_limit, refuse_large
from deepfake_core.inputs.reading.memory import (
    as_array,
    as_bytes,
    is_array,
    is_file_object,
    read_file,
    refusal,
)
from deepfake_core.inputs.reading.pixels import array_to_rgb, to_rgb
from deepfake_core.inputs.reading.tiff import UnreadablePhotograph, open_photograph
from deepfake_core.inputs.sniff import HEAD_BYTES, Kind, sniff
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.paths import why_missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    PictureSource: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image

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
# Formats, by Pillow's names, whose frames are those of an animation; the frames of others are pages or previews.
_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded image, upright.

    Attributes:
        pixels: ``uint8 [h, w, 3]`` RGB; at a reduced scale if that was allowed.
        source: Name of the input, as the user gave it.
        mode: Pillow's name for the colour mode of the file, such as ``"RGB"`` or ``"CMYK"``.
        width: Width of the full image as shown, in pixels.
        height: Height of the full image as shown, in pixels.
        warnings: What a judgement should say of this input, one sentence each, such as which of its pictures it is.
    """

    pixels: NDArray[np.uint8]
    source: str
    mode: str
    width: int
    height: int
    warnings: tuple[str, ...] = ()

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


def in_memory(source: Any) -> tuple[str, str | bytes | NDArray[Any] | Image.Image]:
    """Return a single input in the form in which it is decoded, with its name: a path stays a path.

    Open files are read to their end; buffers become bytes, and arrays of other libraries NumPy arrays.

    Raises:
        InputError: A file object cannot be read, or this is nothing that holds a picture.
    """
    if isinstance(source, str | os.PathLike):
        return name_of(source), os.fsdecode(source)
    if isinstance(source, bytes | np.ndarray | Image.Image):
        return name_of(source), source
    if isinstance(source, bytearray | memoryview):
        return "<bytes>", as_bytes(source)
    if is_file_object(source):
        return read_file(source)
    if is_array(source):
        return "<array>", as_array(source)
    raise InputError(f"<{type(source).__name__}>", refusal(source))


def decode(
    source: PictureSource, *, max_pixels: int | None = None, min_side: int | None = None, name: str | None = None
) -> Picture:
    """Read one image as upright ``uint8 [h, w, 3]`` RGB.

    Args:
        source: Path, bytes of a file, array (``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` RGB or ``[H, W, 4]`` RGBA, or
            ``[1, H, W]`` or ``[3, H, W]``, of uint8, uint16 or float in [0, 1]) or PIL image; also a binary file
            object, a buffer, or an array of another library.
        max_pixels: Most pixels that are decoded of a file: a larger JPEG file is decoded at a reduced size, and any
            other larger file is refused. By default the limit of
            :func:`~deepfake_core.inputs.reading.limits.pixel_limit`. Arrays and PIL images that are decoded already
            have none.
        min_side: Number of pixels that the longer side must keep when a JPEG is decoded at 1/2, 1/4 or 1/8 of its
            size, if the limit allows it; ``None`` decodes as much as the limit allows.
        name: Name of the input in messages; by default that of :func:`name_of`.

    Raises:
        InputError: The input is not a complete image of a known format within the limit, or it is an animation.
    """
    own_name, data = in_memory(source)
    name = own_name if name is None else name
    if isinstance(data, np.ndarray):
        pixels, mode = array_to_rgb(data, name)
        return Picture(pixels, name, mode, pixels.shape[1], pixels.shape[0])
    limit = pixel_limit(max_pixels)
    if isinstance(data, Image.Image):
        # The image of a file that Pillow has not decoded yet has tiles. It is the user's, and is not reduced itself.
        if isinstance(data, ImageFile.ImageFile) and data.tile:
            if isinstance(data, JpegImageFile) and data.width * data.height > limit:
                return decode(_file_of(data), max_pixels=limit, min_side=min_side, name=name)
            refuse_large(data, name, limit)
        return _from_image(data, name, data.size, _other_frames(data))
    with _opened(data, name) as (image, warnings):
        try:
            animated = is_animated(image)
        except Exception:  # noqa: BLE001 - Pillow looks for a second frame, and raises anything for damaged files
            animated, warnings = False, (*warnings, "damaged behind its first frame; get the file again")
        if animated:
            raise InputError(name, f"an animation ({image.format}), not a single picture; sample its frames instead")
        full = image.size
        limit_decoding(image, name, limit, min_side)
        return _from_image(image, name, full, warnings)


def is_animated(image: Image.Image) -> bool:
    """Return whether a file that Pillow opened has several frames that are shown one after the other."""
    return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))


def stored_picture(source: PictureSource, *, max_pixels: int | None = None) -> tuple[Image.Image, int]:
    """Load an image as it is stored: in its own colour mode, not turned upright, and with the metadata of its file.

    Args:
        source: Input as for :func:`decode`, which must have read it without an error; a file object must not have been
            read before.
        max_pixels: Most pixels that are decoded of a file, which is never reduced here.

    Returns:
        The image, for an animation its first one, and its EXIF orientation, which is 1 for an upright image.

    Raises:
        InputError: The input is not a complete image of a known format within the limit.
    """
    name, data = in_memory(source)
    if isinstance(data, np.ndarray):
        return Image.fromarray(array_to_rgb(data, name)[0]), 1
    if isinstance(data, Image.Image):
        return data.copy(), _orientation(data)
    with _opened(data, name) as (image, _):
        refuse_large(image, name, pixel_limit(max_pixels))
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
def _opened(source: str | bytes, name: str) -> Iterator[tuple[Image.Image, tuple[str, ...]]]:
    """Open a file and read its header with the decoder of its format; say which of several pictures is meant."""
    with open_stream(source, name) as stream:
        kind = sniff(read_head(stream, name))
        _check_kind(kind, name)
        said = ""
        try:
            if kind.pillow == "TIFF":
                image, said = open_photograph(stream)
            else:
                image = image_factory(kind.pillow)(stream, "")
                if kind.family == "heif" and (count := getattr(image, "n_frames", 1)) > 1:
                    said = f"holds {count} pictures: the primary one was judged"
        except UnreadablePhotograph as error:
            raise InputError(name, str(error)) from error
        except Exception as error:
            raise InputError(name, f"damaged or incomplete; get the file again ({one_line(error)})") from error
        yield image, (said,) if said else ()


def image_factory(format: str) -> Callable[[IO[bytes], str], ImageFile.ImageFile]:
    """Return the decoder of one format.

    ``Image.open`` is not used: other decoders must not try, some of which start programs (EPS), and its own limit of
    pixels, which is one for the whole process, does not know of reduced sizes.
    """
    Image.preinit()
    if format not in Image.OPEN:
        Image.init()
    if format == "AVIF":
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = allowed_threads()  # Pillow would start one for each processor
    return Image.OPEN[format][0]


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
            raise InputError(name, "no bytes at all; pass the content of one picture or video")
        return nullcontext(io.BytesIO(source))
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(
                name, "is a folder; name a file in it (those with suffixes such as .jpg and .mp4 are found)"
            )
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe or a device could wait or read for ever.
            raise InputError(
                name, "is not a regular file; pass an open file instead, or - to dfbench predict for a pipe"
            )
        if status.st_size == 0:
            raise InputError(name, "is empty (0 bytes); get the file again")
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(name, why_missing(os.fsdecode(path))) from None
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


def _check_kind(kind: Kind, name: str) -> None:
    """Raise an error that names the kind of a file that is no image; register the HEIF decoder for a HEIF file."""
    if kind.family == "heif":
        try:
            import pillow_heif
        except ImportError:
            raise InputError(name, "reading HEIC needs pillow-heif; run: pip install 'deepfake-core[heif]'") from None
        pillow_heif.register_heif_opener()
        pillow_heif.options.DECODE_THREADS = allowed_threads()
    elif kind.family == "video":
        raise InputError(name, f"looks like a video ({kind.name}), not a picture; sample its frames instead")
    elif kind.family != "picture":
        raise InputError(name, f"not a picture that can be read: looks like {kind.name}")


def _from_image(image: Image.Image, name: str, full: tuple[int, int], warnings: tuple[str, ...] = ()) -> Picture:
    """Decode a file that was opened, or convert a PIL image of the user, whose full size is given."""
    mode = image.mode
    try:
        reduced = image.size != full
        image.load()
        # Pillow turns a TIFF while it loads, so the sides are known only now.
        width, height = full if reduced else image.size
        orientation = _orientation(image)
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        if orientation in _SIDEWAYS:
            width, height = height, width
        pixels = to_rgb(image)
    except Exception as error:
        raise InputError(name, _decode_failure(mode, error)) from error
    return Picture(pixels, name, mode, width, height, warnings)


def _file_of(image: ImageFile.ImageFile) -> bytes:
    """Read the whole file of an image that was opened, and leave the image as it is."""
    assert image.fp is not None, "an image that is not decoded yet has its file"
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(place)
    return content


def _other_frames(image: Image.Image) -> tuple[str, ...]:
    """Say that a PIL image of an animated file, or of one with pages, was judged by the frame that it shows."""
    try:
        count = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001 - the file is damaged, or was closed
        return ()
    return (f"holds {count} frames: the one that it shows was judged; pass its path or bytes",) if count > 1 else ()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a damaged EXIF block does not make the pixels unreadable
        return 1


def _decode_failure(mode: str, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than PIL.Image.MAX_IMAGE_PIXELS allows in this program; raise that"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it; reduce the picture"
    if isinstance(error, ValueError) and "conversion" in str(error):
        return f"colour mode {mode} cannot be shown as RGB; convert it first"
    return f"damaged or incomplete; get the file again ({one_line(error)})"


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, without paths and memory addresses."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).split(" <_io")[0]
