"""Video files that were joined end to end, each with a header of its own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from deepfake_core.errors import InputError
from deepfake_core.inputs.reading.view import View
from deepfake_core.inputs.streams.boxes import top_boxes
from deepfake_core.inputs.streams.clock import Timeline
from deepfake_core.inputs.streams.container import VideoStream
from deepfake_core.inputs.streams.moving import Decoded, Moving

if TYPE_CHECKING:
    from numpy.typing import NDArray

# With what a file of each format begins, where FFmpeg reads joined files up to the next one only. The first name that
# FFmpeg gives a format is the key.
_HEADERS = {
    "asf": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    "avi": rb"RIFF....AVI LIST",
    "flv": rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00",
    "ivf": rb"DKIF\x00\x00\x20\x00",
    "matroska": rb"\x1a\x45\xdf\xa3.{1,64}?(?:matroska|webm)",
    "nut": rb"nut/multimedia container\x00",
    "rm": rb"\.RMF\x00\x00\x00\x12",
}
_LONGEST_HEADER = 128
_BLOCK_BYTES = 1 << 23
# More parts than these are not looked at.
_MOST_PARTS = 256
# What is left of a transport stream after its pictures is mostly sound, unless it is more than this.
_LEAST_REST_BYTES = 1 << 14
_LEAST_REST = 0.01


def open_container(file: IO[bytes], name: str, limit: int) -> Moving:
    """Open a video file, which may be several ones that were joined.

    Args:
        file: Open file.
        name: Name of the input in messages.
        limit: Most pixels of a frame.

    Raises:
        InputError: The file is not a video, or it has no picture stream.
    """
    whole = VideoStream(file, name, limit)
    starts = list(_starts(file, whole))
    if len(starts) < 2:
        return whole
    whole.close()
    length = file.seek(0, io.SEEK_END)
    parts: list[VideoStream] = []
    windows = list(pairwise([0, *starts[1:], length]))
    for start, end in windows[:_MOST_PARTS]:
        try:
            parts.append(VideoStream(cast(IO[bytes], View(file, start, end)), name, limit))
            parts[-1].close()
        except InputError:
            if not start:
                raise
    return Joined(parts, len(windows) - len(parts))


class Joined(Moving):
    """Video files that were joined, as one video in which they follow each other.

    Args:
        parts: The files.
        failed: Number of further ones that cannot be opened, or are too many.
    """

    def __init__(self, parts: list[VideoStream], failed: int) -> None:
        super().__init__(parts[0].name, parts[0].limit)
        self._parts = parts
        self._failed = failed
        self._shifts: list[float] = []
        self._part = 0  # that is read
        self.step = parts[0].step

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def timeline(self) -> Timeline:
        timelines = []
        for part in self._parts:
            timelines.append(part.timeline())
            part.close()
        self._shifts, end = [], timelines[0].start
        for timeline in timelines:
            self._shifts.append(end - timeline.start)
            end += timeline.end - timeline.start
        times = [timeline.times + shift for timeline, shift in zip(timelines, self._shifts, strict=True)]
        return Timeline(timelines[0].start, end, np.unique(np.concatenate(times)))

    def is_whole(self) -> bool:
        whole = True
        for part in self._parts:
            whole = whole and part.is_whole()
            part.close()
        return whole

    def left_out(self, sampled: int) -> list[str]:
        remarks = dict.fromkeys(remark for part in self._parts for remark in part.left_out(sampled))
        failed = [f"of {self._failed + len(self._parts)} joined videos, {self._failed} were not looked at"]
        return [*remarks, *(failed if self._failed else [])]

    def damage(self) -> tuple[int, int]:
        damaged, decoded = zip(*(part.damage() for part in self._parts), strict=True)
        return sum(damaged), sum(decoded)

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        number, own = frame
        part: VideoStream = self._parts[number]
        return part.pixels(own)

    def _decoded(self) -> Iterator[Decoded]:
        return self._from(0, self._parts[0].restarted())

    def _from(self, first: int, frames: Iterator[Decoded]) -> Iterator[Decoded]:
        """Yield the rest of a part, and all parts after it."""
        for number in range(first, len(self._parts)):
            self._part = number
            for time, frame, is_clean in frames if number == first else self._parts[number].restarted():
                yield Decoded(time + self._shifts[number], (number, frame), is_clean)
            self._parts[number].close()  # a decoder of its own for each part would be too many

    def _jump(self, target: float) -> Iterator[Decoded] | None:
        begun = [number for number in range(len(self._parts)) if self._begins(number) <= target]
        wanted = max(begun, default=0)
        part, own = self._parts[wanted], target - self._shifts[wanted]
        if wanted == self._part:
            jumped = part._jump(own)
            return None if jumped is None else self._from(wanted, jumped)
        self._parts[self._part].close()
        frames = part.restarted()
        return self._from(wanted, part._jump(own) or frames)

    def _begins(self, number: int) -> float:
        """Return when a part begins, in seconds."""
        return self._shifts[number] + self._parts[number].timeline().start


def _starts(file: IO[bytes], whole: VideoStream) -> Iterator[int]:
    """Yield where a video begins in a file, in bytes; the position of the file is kept.

    Args:
        file: Open file.
        whole: The file opened as a whole.
    """
    if whole.format == "mov":
        boxes = list(top_boxes(file))
        has_index = [place for place, (kind, _, _) in enumerate(boxes) if kind == b"moov"]
        heads = [place for place, (kind, _, _) in enumerate(boxes) if kind == b"ftyp"]
        for place, after in pairwise([*heads, len(boxes)]):
            if any(place < index < after for index in has_index):
                yield boxes[place][1]
    elif whole.format in _HEADERS:
        position = file.tell()
        yield from _found(file, re.compile(_HEADERS[whole.format], re.DOTALL))
        file.seek(position)
    elif whole.format == "mpegts":
        yield from _streams(file, whole)


def _streams(file: IO[bytes], whole: VideoStream) -> Iterator[int]:
    """Yield where a picture stream of a transport stream ends and another one begins, which has other numbers."""
    length = file.seek(0, io.SEEK_END)
    part, start = whole, 0
    while True:
        yield start
        start += part.end_bytes()
        if part is not whole:
            part.close()
        if length - start < max(_LEAST_REST_BYTES, _LEAST_REST * length):
            return
        try:
            part = VideoStream(cast(IO[bytes], View(file, start, length)), whole.name, whole.limit)
        except InputError:
            return  # what follows holds no pictures


def _found(file: IO[bytes], header: re.Pattern[bytes]) -> Iterator[int]:
    at, kept = 0, b""
    while True:
        file.seek(at + len(kept))
        block = kept + file.read(_BLOCK_BYTES)
        last = len(block) - len(kept) < _BLOCK_BYTES
        for match in header.finditer(block):
            if last or match.start() < len(block) - _LONGEST_HEADER:
                yield at + match.start()
        if last:
            return
        at += len(block) - _LONGEST_HEADER
        kept = block[-_LONGEST_HEADER:]
