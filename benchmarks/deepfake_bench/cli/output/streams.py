"""The standard streams of the command line: output that is lost is an error, and what is written ends with a line.

Services, ``pythonw.exe`` and ``command >&-`` start a program without some of its standard streams; a disk can be full,
and the reader of a pipe can end before the writer.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from deepfake_bench.cli.output.exit_status import ExitStatus


class OutputLost(Exception):
    """Standard output cannot be written; it is no :class:`DeepfakeError`, so that no command takes it for its own."""


@contextmanager
def whole_output() -> Iterator[None]:
    """Within the block, replace the standard streams; lost output ends the program with its own exit status."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is None:  # take its descriptor, or the next file that is opened would get it and be written to
            os.open(os.devnull, os.O_RDWR)
    sys.stderr = _rebuilt(sys.stderr, 2, _Messages)
    sys.stdout = _rebuilt(sys.stdout, 1, _Output)
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    try:
        yield
    except OutputLost:
        pass
    finally:
        with suppress(OutputLost):
            sys.stdout.flush()
        if isinstance(output, _Output) and output.failure is not None:
            raise SystemExit(_report(output.failure))


def colours_wanted() -> bool | None:
    """Return whether the environment asks for colours; ``None`` where only a terminal gets them."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return True if os.environ.get("FORCE_COLOR") else None


class _Output(io.FileIO):
    """Standard output. Where not all can be written, a file is cut after the last whole line, and the rest is dropped.

    Attributes:
        failure: Error of the first write that failed; ``None`` before that.
    """

    failure: OSError | None = None
    _half = 0  # bytes after the last whole line

    def write(self, data: Any) -> int:
        with memoryview(data).cast("B") as rest:
            size = len(rest)
            done = size if self.failure else 0
            try:
                while done < size:
                    count = super().write(rest[done:])
                    if count is None:  # a pipe that does not block is full
                        select.select([], [self], [])
                        continue
                    newline = bytes(rest[done : done + count]).rfind(b"\n")
                    self._half = self._half + count if newline < 0 else count - newline - 1
                    done += count
            except OSError as error:
                self.failure = error
                self._cut_half_line()
                raise OutputLost from error
        return size

    def _cut_half_line(self) -> None:
        with suppress(OSError):
            found, end = os.fstat(self.fileno()), self.tell()
            if self._half and stat.S_ISREG(found.st_mode) and end == found.st_size:
                os.ftruncate(self.fileno(), end - self._half)


class _Messages(io.FileIO):
    """Standard error. What cannot be written is dropped, as there is no other place to say so."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def _rebuilt(stream: TextIO | None, number: int, kind: type[io.FileIO]) -> TextIO:
    """Return a stream that writes through a class of its own; one of a terminal or of no file stays as it is."""
    try:
        descriptor = stream.fileno() if stream is not None else number
    except (OSError, ValueError):
        assert stream is not None
        return stream
    if stream is None:
        raw = kind(os.open(os.devnull, os.O_RDONLY), "w")  # writing to it fails
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace")
    if stream.isatty():
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(descriptor, "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering is True,
    )


def _report(error: OSError) -> ExitStatus:
    """Say that output is lost; the reader of a pipe, such as ``head``, knows that it has read enough."""
    if error.errno == errno.EPIPE:
        return ExitStatus.READER_GONE
    sys.stderr.write(
        f"dfbench: standard output cannot be written ({error.strerror}); free space, or send it to another place: "
        "dfbench … > FILE\n"
    )
    return ExitStatus.REJECTED
