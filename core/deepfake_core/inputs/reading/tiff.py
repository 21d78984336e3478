"""Directories of a TIFF file: the pictures that it holds, and which of them is the photograph.

Raw photographs (NEF, DNG, CR2, ARW and others) are TIFF files too: their first directory is often a small preview, and
the photograph is in a directory below it, as unprocessed values of the sensor.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from deepfake_core.inputs.reading.view import View

RAW_KINDS = frozenset({32803, 34892})
"""Values of PhotometricInterpretation that mean values of a sensor: colour filter array, and linear raw."""

# No file needs more directories, or entries in one; a damaged one can chain any number of them.
_MOST_DIRECTORIES = 2048
_MOST_ENTRIES = 1024
# Pictures that are tried, from the largest on: a hostile file can have any number that cannot be read.
_MOST_TRIES = 16
# A preview stands for a photograph that cannot be read if it has at least this share of its pixels: half of each side.
_ENOUGH = 0.25

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 259, 262
_STRIPS, _ORIENTATION, _STRIP_BYTES, _CHILDREN, _JPEG, _JPEG_BYTES = 273, 274, 279, 330, 513, 514
_WANTED = frozenset(
    {_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC}
    | {_STRIPS, _ORIENTATION, _STRIP_BYTES, _CHILDREN, _JPEG, _JPEG_BYTES}
)
_OLD_JPEG = 6
# Format of one value, for the types of whole numbers: BYTE, SHORT, LONG, IFD, LONG8 and IFD8.
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class Directory:
    """One picture of a TIFF file, as its directory describes it.

    Attributes:
        offset: Position of the directory in the file, in bytes.
        values: Values of the tags that are of interest here, by number.
        children: Directories below this one, such as the photograph below its preview.
    """

    offset: int
    values: dict[int, tuple[int, ...]]
    children: tuple[Directory, ...] = ()

    def value(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        return (self.values.get(tag) or (default,))[0]

    @property
    def pixels(self) -> int:
        """Number of pixels; 0 if the directory does not say."""
        return self.value(_WIDTH) * self.value(_HEIGHT)

    @property
    def is_reduced(self) -> bool:
        """Whether it is marked as a smaller version of another picture, or as a mask."""
        return bool(self.value(_SUBFILE) & 5) or self.value(_OLD_SUBFILE) == 2

    @property
    def is_raw(self) -> bool:
        """Whether it holds unprocessed values of a sensor."""
        return self.value(_PHOTOMETRIC) in RAW_KINDS

    @property
    def jpeg(self) -> tuple[int, int] | None:
        """Position and length in bytes of a whole JPEG file that is the picture; ``None`` for other compressions."""
        if self.value(_COMPRESSION, 1) != _OLD_JPEG or self.is_raw:
            return None
        for start, length in ((_JPEG, _JPEG_BYTES), (_STRIPS, _STRIP_BYTES)):
            if len(self.values.get(start, ())) == len(self.values.get(length, ())) == 1:
                return self.value(start), self.value(length)
        return None


def directories(stream: IO[bytes]) -> list[Directory]:
    """Read the directories of a TIFF file on its top level, without any pixels; damaged ones end the list.

    Args:
        stream: TIFF or BigTIFF file, which is rewound.
    """
    head = _at(stream, 0, 16)
    order, big = _form(head)
    first = int.from_bytes(head[8:16] if big else head[4:8], "little" if order == "<" else "big")
    found = list(_Reader(stream, order, big).chain(first))
    stream.seek(0)
    return found


@dataclass(slots=True)
class _Reader:
    stream: IO[bytes]
    order: str
    big: bool
    seen: set[int] = field(default_factory=set)

    def chain(self, offset: int, *, below: bool = False) -> Iterator[Directory]:
        """Yield a directory and those that follow it; only itself if it is ``below`` another one."""
        while offset and offset not in self.seen and len(self.seen) < _MOST_DIRECTORIES:
            self.seen.add(offset)
            read = self.read(offset)
            if read is None:
                return
            values, following = read
            # Pictures below a picture have none below them: two levels are all that the cameras' formats use.
            inner = () if below else values.get(_CHILDREN, ())
            children = tuple(child for place in inner for child in self.chain(place, below=True))
            yield Directory(offset, values, children)
            offset = 0 if below else following

    def read(self, offset: int) -> tuple[dict[int, tuple[int, ...]], int] | None:
        """Return the values of one directory and the position of the next; ``None`` where the file ends before."""
        number, entry, place = ("Q", 20, "Q") if self.big else ("H", 12, "I")
        width = struct.calcsize(self.order + number)
        count_bytes = _at(self.stream, offset, width)
        if len(count_bytes) < width:
            return None
        (count,) = struct.unpack(self.order + number, count_bytes)
        if not 0 < count <= _MOST_ENTRIES:
            return None
        size = entry * count
        table = _at(self.stream, offset + width, size + struct.calcsize(self.order + place))
        if len(table) < size:
            return None
        values = {}
        for row in range(0, size, entry):
            tag, kind = struct.unpack_from(self.order + "HH", table, row)
            if tag in _WANTED and kind in _TYPES:
                values[tag] = self.values(table[row + 4 : row + entry], _TYPES[kind])
        tail = table[size:]
        following = (
            struct.unpack(self.order + place, tail)[0] if len(tail) == struct.calcsize(self.order + place) else 0
        )
        return values, following

    def values(self, field: bytes, kind: str) -> tuple[int, ...]:
        """Return the values of an entry, which are inside of it if they fit; at most one for each directory."""
        place = "Q" if self.big else "I"
        width = struct.calcsize(self.order + place)
        (count,) = struct.unpack(self.order + place, field[:width])
        kept = min(count, _MOST_DIRECTORIES)
        data = field[width:]
        if count * struct.calcsize(self.order + kind) > width:
            (start,) = struct.unpack(self.order + place, data)
            data = _at(self.stream, start, kept * struct.calcsize(self.order + kind))
        kept = min(kept, len(data) // struct.calcsize(self.order + kind))
        return struct.unpack_from(f"{self.order}{kept}{kind}", data)


def _at(stream: IO[bytes], offset: int, size: int) -> bytes:
    try:
        stream.seek(offset)
        return stream.read(size)
    except (OSError, OverflowError, ValueError):
        return b""


def full_pages(stream: IO[bytes]) -> list[int]:
    """Return the numbers of the pages that are pictures of their own: not previews, masks or raw photographs.

    Args:
        stream: TIFF file, which is rewound.
    """
    pages = directories(stream)
    if any(one.is_raw for page in pages for one in (page, *page.children)):
        return []
    largest = max(pages, key=lambda page: page.pixels, default=None)
    return [
        number
        for number, page in enumerate(pages)
        if largest is not None and page.pixels and not page.is_reduced and not _is_preview(page, largest)
    ]


def _is_preview(page: Directory, photo: Directory) -> bool:
    """Tell whether a page that nothing marks as reduced is a small version of another page, by its shape."""
    small, large = page.value(_WIDTH) * photo.value(_HEIGHT), photo.value(_WIDTH) * page.value(_HEIGHT)
    return page.pixels < _ENOUGH * photo.pixels and abs(small - large) < 0.03 * max(small, large)


class UnreadablePhotograph(Exception):
    """The photograph in a TIFF file cannot be read; the message says why, and what to do."""


def open_photograph(stream: IO[bytes]) -> tuple[Image.Image, str]:
    """Open the largest picture of a TIFF file, and return it with a sentence on what was chosen.

    The sentence is empty if the file holds one picture only, apart from smaller versions after it.

    Args:
        stream: TIFF file at its start.

    Raises:
        UnreadablePhotograph: The largest picture cannot be read, and the others are much smaller.
        Exception: The header is damaged; Pillow raises various errors.
    """
    every = [one for page in directories(stream) for one in (page, *page.children)]
    is_raw = any(one.is_raw for one in every)
    if len(every) < 2 and not is_raw:
        return TiffImageFile(stream), ""
    largest = max(every, key=lambda one: one.pixels)
    found = _largest_readable(stream, every)
    if found is None or _size(found[1]) < _ENOUGH * largest.pixels:
        raise UnreadablePhotograph(_why_not(largest, found and found[1], is_raw))
    chosen, image = found
    orientation = chosen.value(_ORIENTATION) or every[0].value(_ORIENTATION)
    if orientation and chosen is not every[0]:
        image.getexif()[_ORIENTATION] = orientation
    shown = f"{image.width} × {image.height} pixels"
    if is_raw:
        return image, f"a raw photograph: the picture of {shown} that the camera made of it was judged"
    if chosen is every[0] and all(one.is_reduced for one in every[1:]):
        return image, ""
    return image, f"holds {len(every)} pictures: the largest, of {shown}, was judged"


def _largest_readable(stream: IO[bytes], every: list[Directory]) -> tuple[Directory, Image.Image] | None:
    """Open the largest picture that Pillow can read; of equal ones the first, but rather one that is not reduced."""
    jpegs = [one for one in every if one.jpeg is not None][:_MOST_TRIES]
    # A directory of a whole JPEG file need not state its size.
    sizes = {id(one): _size(image) for one in jpegs if (image := _opened(stream, one)) is not None}
    plain = [one for one in every if one.jpeg is None and one.pixels and not one.is_raw]
    sizes |= {id(one): one.pixels for one in plain}
    ranked = sorted((one for one in every if id(one) in sizes), key=lambda one: (-sizes[id(one)], one.is_reduced))
    for one in ranked[:_MOST_TRIES]:
        if (image := _opened(stream, one)) is not None:
            return one, image
    return None


def _opened(stream: IO[bytes], directory: Directory) -> Image.Image | None:
    """Open the picture of a directory without decoding it; ``None`` if that fails."""
    try:
        if directory.jpeg is not None:
            return JpegImageFile(io.BufferedReader(View(stream, directory.jpeg[0])))
        return TiffImageFile(io.BufferedReader(View(stream, 0, head=_header(stream, directory.offset))))
    except Exception:  # noqa: BLE001 - Pillow raises errors of many kinds for what it cannot read
        return None


def _size(image: Image.Image) -> int:
    return image.width * image.height


def _why_not(largest: Directory, image: Image.Image | None, is_raw: bool) -> str:
    size = f" of {largest.value(_WIDTH)} × {largest.value(_HEIGHT)} pixels" if largest.pixels else ""
    other = f", and what can be read is a preview of {image.width} × {image.height}" if image is not None else ""
    if is_raw:
        return f"a raw photograph{size}, whose values cannot be read{other}; develop it to JPEG or TIFF"
    return f"its largest picture{size} cannot be read{other}; convert it to JPEG or PNG"


def _header(stream: IO[bytes], offset: int) -> bytes:
    """Return the header of a TIFF file, changed so that another directory is the first."""
    head = _at(stream, 0, 16)
    order, big = _form(head)
    return head[:8] + struct.pack(order + "Q", offset) if big else head[:4] + struct.pack(order + "I", offset)


def _form(head: bytes) -> tuple[str, bool]:
    """Return the byte order of a TIFF file for :mod:`struct`, and whether it is a BigTIFF file."""
    return "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
