"""Tar archives, read in order: headers alone where they are not compressed, everything once where they are."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import BinaryIO, TypeAlias

from deepfake_core.errors import TrainingDataError

Opener: TypeAlias = Callable[[], BinaryIO]

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        name: As the archive has it.
        size: In bytes.
        span: Offset and length within the archive, where it is not compressed.
        read: Its bytes; to be called before the next member is asked for.
    """

    name: str
    size: int
    span: tuple[int, int] | None
    read: Callable[[], bytes]


def members(path: Path, opened: Opener | None = None) -> Iterator[Member]:
    """Yield the files of an archive in their order; links, folders and the like are passed over.

    Nothing is ever written to disk, so a member's name cannot lead anywhere.

    Args:
        path: The archive, plain or compressed by gzip, bzip2 or xz.
        opened: Opens it, where it is not a file on disk.

    Raises:
        TrainingDataError: The archive is damaged or truncated.
        OSError: It cannot be read.
    """
    try:
        with (opened or (lambda: path.open("rb")))() as stream:
            yield from _members(stream)
    except (tarfile.TarError, EOFError, zlib.error, LZMAError) as error:
        raise TrainingDataError(f"{path}: the archive is damaged or incomplete ({error}); get it again") from error


def read_member(path: Path, name: str, opened: Opener | None = None) -> bytes:
    """The bytes of one member, found by reading up to it.

    Raises:
        TrainingDataError: The archive is damaged, or has no such member.
        OSError: It cannot be read.
    """
    for member in members(path, opened):
        if member.name == name:
            return member.read()
    raise TrainingDataError(f"{path}: has no member {name!r}; it has changed since it was listed")


def _members(stream: BinaryIO) -> Iterator[Member]:
    # Streams of other machines cannot always be sought; what is compressed should not be.
    compressed = _head(stream).startswith(_COMPRESSED)
    end = 0 if compressed else stream.seek(0, 2)
    stream.seek(0)
    # A stream in mode "r|" is read once from its beginning to its end.
    with tarfile.open(fileobj=stream, mode="r|*" if compressed else "r:") as archive:
        while (entry := archive.next()) is not None:
            # They would be kept for all of a long archive.
            archive.members.clear()  # type: ignore[attr-defined]
            if not entry.isreg():
                continue
            plain = not compressed and not entry.issparse()
            if plain and entry.offset_data + entry.size > end:
                raise tarfile.ReadError(f"ends within {entry.name!r}")
            span = (entry.offset_data, entry.size) if plain else None
            yield Member(entry.name, entry.size, span, _reader(archive, entry))


def _reader(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        file = archive.extractfile(entry)
        assert file is not None, "only regular files are yielded"
        with file:
            content = file.read()
        if len(content) != entry.size:
            raise tarfile.ReadError(f"ends within {entry.name!r}")
        return content

    return read


def _head(stream: BinaryIO) -> bytes:
    head = stream.read(6)
    stream.seek(0)
    return head
