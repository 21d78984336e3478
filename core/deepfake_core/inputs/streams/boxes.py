"""Boxes of MP4 and QuickTime files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

_MOST_BYTES = 1 << 26  # of an index


def top_boxes(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each box on the top level of a file; its position is kept."""
    position = file.tell()
    length = file.seek(0, 2)
    at = 0
    while at + 8 <= length:
        file.seek(at)
        head = file.read(16)
        size, kind, start = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        if size == 0:
            size = length - at
        if size < start:
            break
        yield kind, at, at + size
        at += size
    file.seek(position)


def index(file: IO[bytes]) -> bytes:
    """Return the first box ``moov`` of a file, which holds the index; the position of the file is kept."""
    position = file.tell()
    start, end = next(((start, end) for kind, start, end in top_boxes(file) if kind == b"moov"), (0, 0))
    file.seek(start)
    data = file.read(min(end - start, _MOST_BYTES))
    file.seek(position)
    return data


def children(data: bytes, *path: bytes) -> Iterator[bytes]:
    """Yield the contents of the boxes at a path of kinds below a box."""
    # The boxes of a picture format follow the fixed fields of the list of formats and of the first format.
    at = 8 + 8 + 78 if path[0] == b"clap" else 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8:
            return
        if kind == path[0]:
            content = data[at + 8 : at + size]
            yield from children(content, *path[1:]) if len(path) > 1 else [content]
        at += size
