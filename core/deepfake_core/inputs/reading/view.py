"""Part of an open file, read as a file of its own."""

from __future__ import annotations

import io
from typing import IO, Any


class View(io.RawIOBase):
    """Part of an open file, whose first bytes may be replaced.

    Args:
        stream: File; only one of its views is read at a time.
        start: Position in bytes at which the view begins.
        end: Position in bytes at which it ends; ``None`` for the end of the file.
        head: Bytes that replace the first ones.
    """

    def __init__(self, stream: IO[bytes], start: int, end: int | None = None, head: bytes = b"") -> None:
        self._stream, self._start, self._end, self._head = stream, start, end, head
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence == io.SEEK_END:
            offset += (self._stream.seek(0, io.SEEK_END) if self._end is None else self._end) - self._start
        self._place = max(0, offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        if self._end is not None:
            size = max(0, min(size, self._end - self._start - self._place))
        try:
            self._stream.seek(self._start + self._place)
            data = self._stream.read(size)
        except (OverflowError, ValueError):  # no file has such a position, which a damaged one may state
            data = b""
        if self._place < len(self._head):
            data = self._head[self._place :][: len(data)] + data[len(self._head) - self._place :]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
