"""Read tar archives in order: only the headers of uncompressed ones, and compressed ones once from start to end."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from deepfake_core.errors import TrainingDataError

Opener: TypeAlias = Callable[[], BinaryIO]

_DECODERS: Mapping[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        name: Path of the member within the archive.
        size: Size of the member in bytes.
        span: Offset and length in bytes within the archive; ``None`` if the archive is compressed.
        read: Function that returns the member's bytes. It must be called before the next member is requested.
    """

    name: str
    size: int
    span: tuple[int, int] | None
    read: Callable[[], bytes]


def members(path: Path, opened: Opener | None = None) -> Iterator[Member]:
    """Yield the regular files of an archive in their order.

    Nothing is ever extracted to disk, so that the name of a member can do no harm.

    Args:
        path: Archive, uncompressed or compressed by gzip, bzip2 or xz.
        opened: Function that opens the archive if it is not a file on disk.

    Raises:
        TrainingDataError: The archive is damaged or truncated.
        OSError: The archive cannot be read.
    """
    with _named(path), (opened or (lambda: path.open("rb")))() as stream:
        yield from _members(path, stream)


def read_member(path: Path, name: str, opened: Opener | None = None) -> bytes:
    """Return the bytes of one member, which is found by reading the archive up to it.

    Args:
        path: Archive, uncompressed or compressed by gzip, bzip2 or xz.
        name: Path of the member within the archive.
        opened: Function that opens the archive if it is not a file on disk.

    Raises:
        TrainingDataError: The archive is damaged, or has no such member.
        OSError: The archive cannot be read.
    """
    for member in members(path, opened):
        if member.name == name:
            return member.read()
    raise TrainingDataError(f"{path}: has no member {name!r}; it has changed since it was listed")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an error of the decoders into one that names the archive."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file could not be read, which does not mean that its content is damaged
        raise TrainingDataError(f"{path}: the archive is damaged or incomplete ({error}); get it again") from error


def _members(path: Path, stream: BinaryIO) -> Iterator[Member]:
    # A compressed archive is read once from start to end, because a remote stream may not support seeking.
    head = _head(stream)
    decoder = next((decoder for magic, decoder in _DECODERS.items() if head.startswith(magic)), None)
    end = 0 if decoder else stream.seek(0, 2)
    stream.seek(0)
    # The decoders' own classes verify the checksum and notice a missing end; those of tarfile do not.
    decoded = decoder(stream) if decoder else stream
    last = 0
    with tarfile.open(fileobj=decoded, mode="r|" if decoder else "r:") as archive:
        while (entry := archive.next()) is not None:
            # tarfile would keep all members of a long archive in memory.
            archive.members.clear()  # type: ignore[attr-defined]
            if entry.size < 0:
                raise tarfile.ReadError(f"{entry.name!r} has a negative size")
            last = entry.offset_data + (entry.size if entry.isreg() else 0)
            if not entry.isreg():
                continue
            plain = decoder is None and not entry.issparse()
            if plain and last > end:
                raise tarfile.ReadError(f"it ends within {entry.name!r}")
            span = (entry.offset_data, entry.size) if plain else None
            yield Member(entry.name, entry.size, span, _reader(path, archive, entry))
    if decoder:
        while decoded.read(1 << 16):
            pass
    elif end - last < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end is missing")


def _reader(path: Path, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        file = archive.extractfile(entry)
        assert file is not None, "only regular files are yielded"
        with _named(path), file:
            return file.read()

    return read


def _head(stream: BinaryIO) -> bytes:
    head = stream.read(6)
    stream.seek(0)
    return head
