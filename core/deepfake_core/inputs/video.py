"""Sample frames or clips evenly over a whole video; only one of them is in memory at a time, however long it is."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import name_of, one_line, open_stream
from deepfake_core.inputs.streams.moving import Moving
from deepfake_core.inputs.streams.opening import open_moving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_registry.manifest import Clip

_NOTHING_DECODES = "no frame of this video can be decoded; it is damaged or incomplete"


@dataclass(frozen=True, slots=True)
class Frame:
    """Frame of a video, upright.

    Attributes:
        index: Position among the sampled frames, from 0; for a frame of a clip, its number in the video.
        time_s: Time at which the frame is shown, in seconds from the first frame; ``None`` if the frame is a separate
            image.
        pixels: ``uint8 [h, w, 3]`` RGB, with square pixels.
        is_damaged: Whether the frame, or one that it builds on, is damaged, so that it may be smeared.
    """

    index: int
    time_s: float | None
    pixels: NDArray[np.uint8]
    is_damaged: bool = False


def sample_frames(
    source: str | os.PathLike[str] | bytes,
    count: int = 16,
    *,
    max_pixels: int | None = None,
    name: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> Iterator[Frame]:
    """Yield up to ``count`` frames, evenly spread over the whole video, or over an animated image.

    The video is divided into ``count`` spans of equal time, and the frame shown in the middle of each is yielded. No
    frame comes twice, so a video with fewer frames gives all of them. Parts with clocks of their own, as in streams
    that were joined, follow each other without a gap; where gaps in the time stamps would leave frames out, the spans
    have equal numbers of frames. A damaged frame is replaced by the nearest undamaged one between its neighbours. A
    truncated video gives the frames that can be decoded.

    Args:
        source: Path, or bytes of a file.
        count: Number of frames to sample, at least 1.
        max_pixels: Most pixels of a frame; a video with larger frames is refused. By default the limit for images.
        name: Name of the input in messages; by default its path.
        warn: Called with a sentence for everything that was damaged, missing or left out.

    Raises:
        InputError: No frame can be decoded: the input is not a video, has no picture stream, or is damaged.
        ValueError: ``count`` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    with _opened(source, name, max_pixels) as video:
        timeline = video.timeline()
        for _, frame in _frames(video, timeline.middles(count), timeline.start, warn):
            yield frame


def sample_clips(
    source: str | os.PathLike[str] | bytes,
    clip: Clip,
    count: int = 4,
    *,
    max_pixels: int | None = None,
    name: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> Iterator[list[Frame]]:
    """Yield up to ``count`` clips, evenly spread over the whole video and apart from each other.

    If fewer clips fit, there are fewer, but at least one. The clip of a video that is shorter than a clip has fewer
    than ``clip.length`` frames. No frame comes twice. The frames of a video may differ in size.

    Args:
        source: Path, or bytes of a file.
        clip: Length of a clip in frames, and distance between its frames by the stated frame rate.
        count: Number of clips to sample, at least 1.
        max_pixels: Most pixels of a frame; a video with larger frames is refused. By default the limit for images.
        name: Name of the input in messages; by default its path.
        warn: Called with a sentence for everything that was damaged, missing or left out.

    Raises:
        InputError: No frame can be decoded: the input is not a video, has no picture stream, or is damaged.
    """
    with _opened(source, name, max_pixels) as video:
        timeline = video.timeline()
        gaps = timeline.has_gaps()
        total = len(timeline.times) if gaps else round((timeline.end - timeline.start) / video.step)
        numbers = [
            first + place * clip.stride for first in clip_starts(total, count, clip) for place in range(clip.length)
        ]
        # Targets are in the middle of each frame's time, so that rounded time stamps do no harm.
        middles = [timeline.start + (number + 0.5) * video.step for number in numbers]
        targets = timeline.middles_of(numbers) if gaps else middles
        frames = _frames(video, targets, timeline.start, warn)
        for _, group in groupby(frames, key=lambda placed: placed[0] // clip.length):
            yield [replace(frame, index=round((frame.time_s or 0.0) / video.step)) for _, frame in group]


def clip_starts(frames: int, count: int, clip: Clip) -> list[int]:
    """Return the numbers of the first frames of up to ``count`` clips in a video.

    Each clip lies in the middle of an equal part of the video. There are as many clips as fit side by side, but at
    least one.

    Args:
        frames: Number of frames of the video.
        count: Largest number of clips.
        clip: Length of a clip in frames, and distance between its frames.
    """
    reach = (clip.length - 1) * clip.stride + 1
    clips = max(1, min(count, frames // reach))
    return [max(0, int((number + 0.5) * frames / clips - reach / 2)) for number in range(clips)]


def duration_s(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> float:
    """Return the length of a video in seconds, as far as the file reaches; frames of a video file are not decoded.

    Args:
        source: Path, or bytes of a video file.
        name: Name of the input in messages; by default its path.

    Raises:
        InputError: The input is not a video, has no picture stream, or is damaged.
    """
    with _opened(source, name, None) as video:
        timeline = video.timeline()
        return timeline.end - timeline.start


@dataclass(frozen=True, slots=True)
class Ends:
    """First and last frame of a video.

    Attributes:
        first: First frame that can be decoded.
        last: Last frame that can be decoded; it is the first one if there is only one.
        whole: Whether the file reaches as far as its header states; true if the header states no length.
    """

    first: Frame
    last: Frame
    whole: bool


def end_frames(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int | None = None, name: str | None = None
) -> Ends:
    """Decode the first and the last frame of a video, and check whether the file is whole.

    Args:
        source: Path, or bytes of a video file.
        max_pixels: Most pixels of a frame; a video with larger frames is refused. By default the limit for images.
        name: Name of the input in messages; by default its path.

    Raises:
        InputError: No frame can be decoded: the input is not a video, has no picture stream, or is damaged.
    """
    with _opened(source, name, max_pixels) as video:
        timeline = video.timeline()
        frames = [frame for _, frame in _frames(video, [timeline.start, timeline.end], timeline.start)]
        return Ends(frames[0], frames[-1], video.is_whole())


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str | None, max_pixels: int | None) -> Iterator[Moving]:
    """Open a video and close it in the end; any failure in between becomes an error of this input.

    Raises:
        InputError: The input is not a video, has no picture stream, or is damaged.
    """
    name = name_of(source) if name is None else name
    with open_stream(source, name) as stream:
        video = open_moving(stream, name, max_pixels)
        try:
            yield video
        except InputError:
            raise
        except Exception as error:
            raise InputError(name, f"damaged or incomplete video; get the file again ({one_line(error)})") from error
        finally:
            video.close()


def _frames(
    video: Moving, targets: list[float], start: float, warn: Callable[[str], None] | None = None
) -> Iterator[tuple[int, Frame]]:
    """Yield position in ``targets`` and frame shown there, each once; ``start`` is when the video begins. In seconds.

    Raises:
        InputError: No frame can be decoded.
    """
    count = damaged = 0
    last = -math.inf
    for place, shown in video.shown_at(targets):
        if shown.time > last:
            yield place, Frame(count, max(0.0, shown.time - start), video.pixels(shown.frame), not shown.is_clean)
            count, damaged, last = count + 1, damaged + (not shown.is_clean), shown.time
    if not count:
        raise InputError(video.name, _NOTHING_DECODES)
    if warn is not None:
        for sentence in _remarks(video, count, damaged):
            warn(sentence)


def _remarks(video: Moving, count: int, damaged: int) -> Iterator[str]:
    """Yield what limits the judgement of a video; ``damaged`` of the ``count`` frames that were sampled are damaged."""
    yield from video.left_out(count)
    of_all, decoded = video.damage()
    if of_all:
        among = f"among them {damaged} of the {count} that were looked at" if damaged else "which were not looked at"
        yield f"{of_all} of {decoded} decoded frames are damaged, {among}; get the file again"
    if not video.is_whole():
        yield "the file ends before its stated length: only the part that is there was looked at; get the file again"
