"""A pack: the members of a store of crops in one file, or in parts of a chosen size, to be copied to other machines.

A part is an uncompressed ZIP archive. Its members have the names of the files of a store, so that ``unzip`` makes such
a folder of all parts together, and the arrays lie at offsets at which they can be mapped into memory. Nothing of a pack
is written to the disk on reading. The comment of each archive says which part of which pack it is.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfake_core.datasets.crop_store.members import Members
from deepfake_core.errors import TrainingDataError

SUFFIX = ".pack"
"""Usual suffix of a pack."""

VERSION = 1
"""Version of the layout of packs that this release writes and reads."""

ALIGNMENT = 64
"""Offset in a part of which the begin of every member is a multiple, in bytes."""

_COMMENT = re.compile(rb"deepfake pack (\d{1,6}), part (\d{1,6}) of (\d{1,6}), ([0-9a-f]{64}), crc ([0-9a-f]{8})")
_END = 22  # bytes of the end of a ZIP archive, before its comment
_LOCAL = struct.Struct("<4s5H3L2H")  # header of a member
# Bytes that are read at once to compute a check sum.
_BLOCK = 1 << 24


class Part(NamedTuple):
    """What the comment of a part says about it.

    Attributes:
        version: Version of the layout.
        number: Number of the part, from 1.
        parts: Number of all parts.
        fingerprint: Fingerprint of the pack.
    """

    version: int
    number: int
    parts: int
    fingerprint: str

    def comment(self) -> bytes:
        """Return the comment of the part's archive."""
        said = b"deepfake pack %d, part %d of %d, %s" % (*self[:3], self.fingerprint.encode())
        return said + b", crc %08x" % zlib.crc32(said)


def part_path(pack: Path, number: int) -> Path:
    """Return the path of a part: ``faces.pack`` itself is the first, and ``faces.2.pack`` the second.

    Args:
        pack: Path of the pack.
        number: Number of the part, from 1.
    """
    return pack if number == 1 else pack.with_name(f"{pack.stem}.{number}{pack.suffix}")


def parts_of(pack: Path) -> list[Path]:
    """Return the paths of all parts of a pack, as the first one counts them; none if the file is no pack."""
    first = part_at_end(pack)
    return [] if first is None else [part_path(pack, number) for number in range(1, first.parts + 1)]


def is_pack(path: Path) -> bool:
    """Return whether a path is a file with the name or the content of a pack."""
    if path.suffix == SUFFIX:
        return path.is_file()
    try:
        return path.is_file() and part_at_end(path) is not None
    except OSError:
        return False


def open_members(path: Path) -> Members:
    """Return the members of a store: the files of a folder, or those in a pack.

    Raises:
        TrainingDataError: The file is no pack, or one that is damaged, incomplete or of a later version.
    """
    return PackMembers(path) if path.is_file() else Members(path)


class PackMembers(Members):
    """The members of a pack, read where they lie in its parts. Any number of threads may share it.

    Args:
        path: Path of the pack, which is that of its first part.

    Raises:
        TrainingDataError: The file is no pack, or one that is damaged, incomplete or of a later version.
    """

    remedy = "copy the pack again from where it was made, or make it again with dfbench data pack"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._members: dict[str, _Member] = {}
        first = self._read_part(1, None)
        for number in range(2, first.parts + 1):
            self._read_part(number, first)

    def exists(self, name: str) -> bool:
        return name in self._members

    def place(self, name: str) -> tuple[Path, int]:
        member = self._member(name)
        return member.file, member.start

    def size(self, name: str) -> int:
        return self._member(name).size

    def content(self, name: str) -> bytes:
        return self.blob(name).tobytes()

    def array(self, name: str) -> NDArray[Any]:
        self.blob(name)
        return super().array(name)

    def blob(self, name: str) -> NDArray[np.uint8]:
        blob = super().blob(name)
        crc = 0
        for start in range(0, len(blob), _BLOCK):
            crc = zlib.crc32(blob[start : start + _BLOCK].data, crc)
        if crc != self._member(name).crc:
            raise TrainingDataError(f"{self._member(name).file}: {name} is damaged; {self.remedy}")
        return blob

    def _member(self, name: str) -> _Member:
        try:
            return self._members[name]
        except KeyError:
            raise TrainingDataError(f"{self.path}: has no {name}; {self.remedy}") from None

    def _read_part(self, number: int, first: Part | None) -> Part:
        """Find the members of a part, and return what the part says about itself."""
        path = part_path(self.path, number)
        try:
            part = part_at_end(path)
        except FileNotFoundError:
            assert first is not None
            raise TrainingDataError(
                f"{path}: missing, part {number} of {first.parts} of {self.path.name}; put it beside the first one"
            ) from None
        except OSError as error:
            raise TrainingDataError(f"{path}: cannot be read ({error.strerror}); {self.remedy}") from error
        if part is None:
            raise TrainingDataError(f"{path}: {_why_no_pack(path)}")
        if part.version != VERSION:
            raise TrainingDataError(
                f"{path}: another version of this program made it (layout {part.version}, and this one reads "
                f"{VERSION}); install a newer version, or make the pack again with this one"
            )
        if first is None and part.number != 1:
            name = self.path.name.replace(f".{part.number}.", ".", 1)
            raise TrainingDataError(f"{path}: is part {part.number} of a pack; give the first part, such as {name}")
        if first is not None and part != first._replace(number=number):
            raise TrainingDataError(
                f"{path}: belongs to another pack than {self.path.name}, or to another place in it; {self.remedy}"
            )
        try:
            self._members |= _members(path)
        except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
            raise TrainingDataError(f"{path}: is damaged ({error}); {self.remedy}") from error
        return part


class _Member(NamedTuple):
    """Place of a member: its file, its offset and size there in bytes, and its check sum."""

    file: Path
    start: int
    size: int
    crc: int


def part_at_end(path: Path) -> Part | None:
    """Return what the comment at the end of a file says; ``None`` where the file is no whole part of a pack.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 512))
        tail = stream.read()
    begin = tail.rfind(b"PK\x05\x06")
    match = _COMMENT.fullmatch(tail[begin + _END :]) if begin >= 0 else None
    if match is None:
        return None
    part = Part(int(match[1]), int(match[2]), int(match[3]), match[4].decode())
    return part if part.comment() == match[0] else None


def _why_no_pack(path: Path) -> str:
    with path.open("rb") as stream:
        begin = stream.read(4)
    if begin == b"PK\x03\x04":
        return f"is damaged or cut short, for its end is not that of a pack; {PackMembers.remedy}"
    return "is no pack of face crops; make one of a store with dfbench data pack"


def _members(path: Path) -> dict[str, _Member]:
    """Return the members of an archive by their names.

    Raises:
        BadZipFile, OSError, ValueError, struct.error, NotImplementedError: The archive is damaged.
    """
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        end = path.stat().st_size
        for info in archive.infolist():
            start = _start(stream, info)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"{info.filename!r} is compressed")
            if start + info.file_size > end:
                raise ValueError(f"{info.filename!r} ends beyond the file")
            found[info.filename] = _Member(path, start, info.file_size, info.CRC)
    return found


def _start(stream: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return the offset in bytes at which the content of a member begins."""
    stream.seek(info.header_offset)
    magic, *_, name, extra = _LOCAL.unpack(stream.read(_LOCAL.size))
    if magic != b"PK\x03\x04" or stream.read(name) != info.orig_filename.encode():
        raise ValueError(f"{info.filename!r} is not where it should be")
    return info.header_offset + _LOCAL.size + int(name) + int(extra)
