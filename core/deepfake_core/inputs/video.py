"""Sample frames or clips evenly over a whole video, streaming: one of them in memory at a time, however long it is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import MAX_PIXELS, name_of, one_line, open_stream, read_head
from deepfake_core.inputs.sniff import sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_registry.manifest import Clip

# Between two samples that are further apart than this, jump to the key frame before the later one: encoders place
# key frames at most about 10 s apart, so a shorter jump would decode as much again.
_SEEK_GAP_S = 10.0
# What PyAV raises for damaged files, besides its own errors.
_FAILURES = (av.error.FFmpegError, OSError, ValueError, IndexError, OverflowError)
# Assumed where a stream states no frame rate.
_FALLBACK_RATE = 25.0
_NOTHING_DECODES = "no frame of this video can be decoded; it is damaged or incomplete"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video, upright.

    Attributes:
        index: Its place among the sampled frames, from 0; of a clip, its number in the video.
        time_s: When it is shown, in seconds from the first frame; ``None`` for one that is a file of its own.
        pixels: ``uint8 [h, w, 3]`` RGB.
    """

    index: int
    time_s: float | None
    pixels: NDArray[np.uint8]


def sample_frames(
    source: str | os.PathLike[str] | bytes, count: int = 16, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Iterator[Frame]:
    """Yield up to ``count`` frames, evenly spread in time over the whole video.

    The clip is cut into ``count`` equal spans, and the frame shown in the middle of each is yielded; no frame
    comes twice, so a clip with fewer frames gives all of them. In long files without an index (MPEG-TS) a frame may
    come from the next key frame instead. Of a truncated video, what decodes is yielded.

    Args:
        source: A path, or the bytes of a video file.
        count: Frames wanted, at least 1.
        max_pixels: A video with larger frames is refused.
        name: What to call the input, instead of its path.

    Raises:
        InputError: No frame can be decoded: not a video, no picture stream, or damaged.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    name = name_of(source) if name is None else name
    with _opened(source, name) as clip:
        start, end = clip.span()
        targets = [start + (index + 0.5) * (end - start) / count for index in range(count)]
        yield from _frames(clip, targets, start, max_pixels)


def sample_clips(
    source: str | os.PathLike[str] | bytes,
    clip: Clip,
    count: int = 4,
    *,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> Iterator[list[Frame]]:
    """Yield up to ``count`` clips, evenly spread in time over the whole video and apart from each other.

    Where fewer fit, there are fewer, but at least one; that of a video shorter than a clip has less than
    ``clip.length`` frames. No frame comes twice. The frames of a video may differ in size.

    Args:
        source: A path, or the bytes of a video file.
        clip: How many frames, and how far apart by the stated frame rate.
        count: Clips wanted, at least 1.
        max_pixels: A video with larger frames is refused.
        name: What to call the input, instead of its path.

    Raises:
        InputError: No frame can be decoded: not a video, no picture stream, or damaged.
    """
    name = name_of(source) if name is None else name
    with _opened(source, name) as video:
        start, end = video.span()
        starts = clip_starts(round((end - start) / video.step), count, clip)
        numbers = [first + place * clip.stride for first in starts for place in range(clip.length)]
        # The middle of each frame's time, so that rounded time stamps do no harm.
        targets = [start + (number + 0.5) * video.step for number in numbers]
        current, frames = -1, list[Frame]()
        for place, time, shown in video.shown_at(targets):
            if place // clip.length != current:
                if frames:
                    yield frames
                current, frames = place // clip.length, []
            time_s = max(0.0, time - start)
            if not frames or frames[-1].time_s != time_s:
                frames.append(Frame(round(time_s / video.step), time_s, _pixels(shown, name, max_pixels)))
        if not frames:
            raise InputError(name, _NOTHING_DECODES)
        yield frames


def clip_starts(frames: int, count: int, clip: Clip) -> list[int]:
    """First frames of up to ``count`` clips, each in the middle of an equal part of a video of ``frames`` frames.

    There are as many as fit side by side, but at least one.
    """
    reach = (clip.length - 1) * clip.stride + 1
    clips = max(1, min(count, frames // reach))
    return [max(0, int((number + 0.5) * frames / clips - reach / 2)) for number in range(clips)]


def duration_s(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> float:
    """Length of a video in seconds, as far as the file reaches; nothing is decoded.

    Raises:
        InputError: Not a video, no picture stream, or damaged.
    """
    name = name_of(source) if name is None else name
    with _opened(source, name) as clip:
        start, end = clip.span()
        return end - start


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of a video.

    Attributes:
        first, last: The same frame where there is only one.
        whole: Whether the file reaches as far as its header says; true where that says nothing.
    """

    first: Frame
    last: Frame
    whole: bool


def end_frames(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Ends:
    """The first and the last frame of a video that decode, to see whether the file is whole.

    Args:
        source: A path, or the bytes of a video file.
        max_pixels: A video with larger frames is refused.
        name: What to call the input, instead of its path.

    Raises:
        InputError: No frame can be decoded: not a video, no picture stream, or damaged.
    """
    name = name_of(source) if name is None else name
    with _opened(source, name) as clip:
        start, end = clip.span()
        frames = list(_frames(clip, [start, end], start, max_pixels))
        return Ends(frames[0], frames[-1], clip.is_whole())


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[_Clip]:
    """A clip that is closed in the end; whatever goes wrong with it meanwhile is an error of this input.

    Raises:
        InputError: Not a video, no picture stream, or damaged.
    """
    with open_stream(source, name) as stream:
        kind = sniff(read_head(stream, name))
        # Also keeps FFmpeg from following playlists, which name other files and addresses.
        if kind.family != "video":
            raise InputError(name, f"not a video: looks like {kind.name}")
        clip = _Clip(stream, name)
        try:
            yield clip
        except InputError:
            raise
        except Exception as error:
            raise InputError(name, f"damaged or incomplete video; get the file again ({one_line(error)})") from error
        finally:
            clip.close()


def _frames(clip: _Clip, targets: list[float], start: float, max_pixels: int) -> Iterator[Frame]:
    """The frames shown at ``targets`` in seconds, each once; the clip begins at ``start``."""
    index, last = 0, -math.inf
    for _, time, frame in clip.shown_at(targets):
        if time > last:
            yield Frame(index, max(0.0, time - start), _pixels(frame, clip.name, max_pixels))
            index, last = index + 1, time
    if not index:
        raise InputError(clip.name, _NOTHING_DECODES)


class _Clip:
    """The picture stream of one video file, read by time in seconds.

    Raises:
        InputError: Not a video, or one without a picture stream.
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
        """Start over, by opening the file again: formats without an index cannot seek, not even to their start."""
        self.close()
        self.file.seek(0)
        try:
            self.container = av.open(self.file, metadata_errors="replace")
        except _FAILURES as error:
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
        """Start and end in seconds: as stated when the file reaches that far, otherwise measured."""
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
        """Whether there is data near the stated end: the headers of a truncated file promise more than it holds."""
        try:
            self.container.seek(int(end / self.stream.time_base), stream=self.stream)
            stamps = (packet.pts for packet in self.container.demux(self.stream) if packet.size)
            last = max((stamp for stamp in stamps if stamp is not None), default=None)
        except _FAILURES:
            return False
        # Durations are rounded, and the last frame may be shown for long.
        return last is not None and float(last * self.stream.time_base) + max(0.5, 2 * self.step) >= end

    def is_whole(self) -> bool:
        """Whether any stream has data near the end that the header states; true where it states none."""
        self.rewind()
        if not self.container.duration:
            return True
        end = (self.container.start_time or 0) + self.container.duration
        last = -math.inf
        with suppress(*_FAILURES):
            self.container.seek(end)
            for packet in self.container.demux():
                if packet.size and packet.pts is not None:
                    last = max(last, float(packet.pts * packet.time_base))
        # Sound may end later than the pictures, so it counts too.
        return bool(last + max(0.5, 2 * self.step) >= end / av.time_base)

    def _measured_span(self) -> tuple[float, float]:
        """First and last time stamp of all packets, none of which is decoded or kept."""
        self.rewind()
        first: int | None = None
        last: int | None = None
        packets = 0
        with suppress(*_FAILURES):
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
        """Place, time and frame shown at each of the ``targets`` (seconds, ascending); times never go back."""
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
                    # A damaged index: decode everything; what was yielded already is passed over.
                    self.rewind()
                    frames = self._decoded()
                    ahead = next(frames, None)
                # Where key frames are too far apart, jumping does not pay.
                can_seek = ahead is not None and ahead[0] > position
            while ahead is not None and ahead[0] <= target:
                shown, ahead = ahead, next(frames, None)
            best = shown or ahead
            if best is not None and best[0] >= last_yielded:
                last_yielded = best[0]
                yield place, *best

    def _jump(self, target: float) -> Iterator[tuple[float, Any]]:
        """What decodes from the key frame before ``target`` seconds on; nothing where the file cannot seek."""
        try:
            self.container.seek(int(target / self.stream.time_base), stream=self.stream)
        except _FAILURES:
            return iter(())
        return self._decoded()

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """Time and frame of everything from here on that decodes; damaged packets are passed over."""
        time = -self.step
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except _FAILURES:
                return
            try:
                frames = packet.decode()
            except _FAILURES:
                continue
            for frame in frames:
                time = time + self.step if frame.time is None else float(frame.time)
                yield time, frame


def _pixels(frame: Any, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """A decoded frame → ``uint8 [h, w, 3]`` RGB, turned as its display matrix says.

    Raises:
        InputError: It is too large, or its pixel format cannot be converted.
    """
    if frame.width * frame.height > max_pixels:
        raise InputError(
            name, f"frames of {frame.width} × {frame.height} pixels, more than the limit of {max_pixels:,}"
        )
    try:
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    except _FAILURES as error:
        raise InputError(name, f"frames of pixel format {frame.format.name} cannot be shown as RGB") from error
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
