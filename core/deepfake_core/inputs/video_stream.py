"""Picture stream of a video file: its length, and the frames shown at given times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

import av
import av.error

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import one_line

# Between two samples that are further apart than this, jump to the key frame before the later one: encoders place
# key frames at most about 10 s apart, so a shorter jump would decode as much again.
_SEEK_GAP_S = 10.0

FAILURES = (av.error.FFmpegError, OSError, ValueError, IndexError, OverflowError)
"""Errors that PyAV raises for damaged files, its own and others."""

# Frame rate in Hz that is assumed if a stream states none.
_FALLBACK_RATE = 25.0


class VideoStream:
    """Picture stream of one video file, which is read by time in seconds.

    Args:
        file: Open file.
        name: Name of the input in messages.

    Raises:
        InputError: The file is not a video, or it has no picture stream.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file = file
        self.name = name
        self.container: Any = None
        self.stream: Any = None
        self.rewind()

    def close(self) -> None:
        """Close the container; the file stays open."""
        if self.container is not None:
            self.container.close()
            self.container = None

    def rewind(self) -> None:
        """Return to the start by opening the file again: formats without an index cannot even seek to their start."""
        self.close()
        self.file.seek(0)
        try:
            self.container = av.open(self.file, metadata_errors="replace")
        except FAILURES as error:
            raise InputError(
                self.name, f"damaged or incomplete video; get the file again ({one_line(error)})"
            ) from error
        self.stream = self._picture_stream()
        self.stream.thread_type = "AUTO"
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.step = 1.0 / float(rate) if rate else 1.0 / _FALLBACK_RATE

    def _picture_stream(self) -> Any:
        for stream in self.container.streams.video:
            cover = stream.disposition & av.stream.Disposition.attached_pic
            if not cover and stream.codec_context is not None and stream.time_base:
                return stream
        holds = "only sound" if self.container.streams.audio else "no picture stream that can be read"
        self.close()
        raise InputError(self.name, f"this media file holds {holds}; there is nothing to look at")

    def span(self) -> tuple[float, float]:
        """Return start and end in seconds: as the header states if the file reaches that far, otherwise measured."""
        span = self._stated_span()
        if span is None or not self._reaches(span[1]):
            span = self._measured_span()
        self.rewind()
        return span

    def _stated_span(self) -> tuple[float, float] | None:
        base = self.stream.time_base
        start = float((self.stream.start_time or 0) * base)
        if self.stream.duration:
            return start, start + float(self.stream.duration * base)
        if self.container.duration:
            return start, start + self.container.duration / av.time_base
        return None

    def _reaches(self, end: float) -> bool:
        """Return whether there is data near the stated end, which a truncated file does not reach."""
        try:
            self.container.seek(int(end / self.stream.time_base), stream=self.stream)
            stamps = (packet.pts for packet in self.container.demux(self.stream) if packet.size)
            last = max((stamp for stamp in stamps if stamp is not None), default=None)
        except FAILURES:
            return False
        # Durations are rounded, and the last frame may be shown for long.
        return last is not None and float(last * self.stream.time_base) + max(0.5, 2 * self.step) >= end

    def is_whole(self) -> bool:
        """Return whether any stream has data near the end that the header states; true if it states none."""
        self.rewind()
        if not self.container.duration:
            return True
        end = (self.container.start_time or 0) + self.container.duration
        last = -math.inf
        with suppress(*FAILURES):
            self.container.seek(end)
            for packet in self.container.demux():
                if packet.size and packet.pts is not None:
                    last = max(last, float(packet.pts * packet.time_base))
        # The stated end may be that of the sound, so packets of all streams count.
        return bool(last + max(0.5, 2 * self.step) >= end / av.time_base)

    def _measured_span(self) -> tuple[float, float]:
        """Return start and end in seconds by the time stamps of all packets, without decoding or keeping any."""
        self.rewind()
        first: int | None = None
        last: int | None = None
        packets = 0
        with suppress(*FAILURES):
            for packet in self.container.demux(self.stream):
                packets += bool(packet.size)
                if packet.size and packet.pts is not None:
                    first = packet.pts if first is None else min(first, packet.pts)
                    last = packet.pts if last is None else max(last, packet.pts)
        if first is None or last is None or first == last:
            return 0.0, max(packets, 1) * self.step
        base = self.stream.time_base
        return float(first * base), float(last * base) + self.step

    def shown_at(self, targets: list[float]) -> Iterator[tuple[int, float, Any]]:
        """Yield position in ``targets``, time in seconds and frame shown at each of the ``targets``.

        Args:
            targets: Times in seconds, ascending. The times of the yielded frames ascend too.
        """
        frames = self._decoded()
        shown: tuple[float, Any] | None = None
        ahead = next(frames, None)
        last_yielded = -math.inf
        can_seek = True
        for place, target in enumerate(targets):
            if can_seek and ahead is not None and target - ahead[0] > _SEEK_GAP_S:
                position, shown = ahead[0], None
                frames = self._jump(target)
                ahead = next(frames, None)
                if ahead is None:
                    # The index is damaged, so everything is decoded, and frames that were yielded are skipped.
                    self.rewind()
                    frames = self._decoded()
                    ahead = next(frames, None)
                # If key frames are too far apart, a jump saves nothing.
                can_seek = ahead is not None and ahead[0] > position
            while ahead is not None and ahead[0] <= target:
                shown, ahead = ahead, next(frames, None)
            best = shown or ahead
            if best is not None and best[0] >= last_yielded:
                last_yielded = best[0]
                yield place, *best

    def _jump(self, target: float) -> Iterator[tuple[float, Any]]:
        """Yield what :meth:`_decoded` does from the key frame before ``target`` (seconds); nothing without seeking."""
        try:
            self.container.seek(int(target / self.stream.time_base), stream=self.stream)
        except FAILURES:
            return iter(())
        return self._decoded()

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """Yield time in seconds and frame of everything that can be decoded from here on, without damaged packets."""
        time = -self.step
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except FAILURES:
                return
            try:
                frames = packet.decode()
            except FAILURES:
                continue
            for frame in frames:
                time = time + self.step if frame.time is None else float(frame.time)
                yield time, frame
