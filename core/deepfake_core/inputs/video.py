"""Sample frames or clips evenly over a whole video; only one of them is in memory at a time, however long it is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import MAX_PIXELS, name_of, one_line, open_stream, read_head
from deepfake_core.inputs.sniff import sniff
from deepfake_core.inputs.video_stream import FAILURES, VideoStream

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
        pixels: ``uint8 [h, w, 3]`` RGB.
    """

    index: int
    time_s: float | None
    pixels: NDArray[np.uint8]


def sample_frames(
    source: str | os.PathLike[str] | bytes, count: int = 16, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Iterator[Frame]:
    """Yield up to ``count`` frames, evenly spread in time over the whole video.

    The video is divided into ``count`` equal spans, and the frame shown in the middle of each is yielded. No frame
    comes twice, so a video with fewer frames gives all of them. In long files without an index (MPEG-TS) a frame may
    come from the next key frame instead. A truncated video gives the frames that can be decoded.

    Args:
        source: Path, or bytes of a video file.
        count: Number of frames to sample, at least 1.
        max_pixels: Limit of pixels per frame; a video with larger frames is refused.
        name: Name of the input in messages; by default its path.

    Raises:
        InputError: No frame can be decoded: the input is not a video, has no picture stream, or is damaged.
        ValueError: ``count`` is less than 1.
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

    If fewer clips fit, there are fewer, but at least one. The clip of a video that is shorter than a clip has fewer
    than ``clip.length`` frames. No frame comes twice. The frames of a video may differ in size.

    Args:
        source: Path, or bytes of a video file.
        clip: Length of a clip in frames, and distance between its frames by the stated frame rate.
        count: Number of clips to sample, at least 1.
        max_pixels: Limit of pixels per frame; a video with larger frames is refused.
        name: Name of the input in messages; by default its path.

    Raises:
        InputError: No frame can be decoded: the input is not a video, has no picture stream, or is damaged.
    """
    name = name_of(source) if name is None else name
    with _opened(source, name) as video:
        start, end = video.span()
        starts = clip_starts(round((end - start) / video.step), count, clip)
        numbers = [first + place * clip.stride for first in starts for place in range(clip.length)]
        # Targets are in the middle of each frame's time, so that rounded time stamps do no harm.
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
    """Return the length of a video in seconds, as far as the file reaches; nothing is decoded.

    Args:
        source: Path, or bytes of a video file.
        name: Name of the input in messages; by default its path.

    Raises:
        InputError: The input is not a video, has no picture stream, or is damaged.
    """
    name = name_of(source) if name is None else name
    with _opened(source, name) as clip:
        start, end = clip.span()
        return end - start


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
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Ends:
    """Decode the first and the last frame of a video, and check whether the file is whole.

    Args:
        source: Path, or bytes of a video file.
        max_pixels: Limit of pixels per frame; a video with larger frames is refused.
        name: Name of the input in messages; by default its path.

    Raises:
        InputError: No frame can be decoded: the input is not a video, has no picture stream, or is damaged.
    """
    name = name_of(source) if name is None else name
    with _opened(source, name) as clip:
        start, end = clip.span()
        frames = list(_frames(clip, [start, end], start, max_pixels))
        return Ends(frames[0], frames[-1], clip.is_whole())


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[VideoStream]:
    """Open a video and close it in the end; any failure in between becomes an error of this input.

    Raises:
        InputError: The input is not a video, has no picture stream, or is damaged.
    """
    with open_stream(source, name) as stream:
        kind = sniff(read_head(stream, name))
        # This also keeps FFmpeg from following playlists, which name other files and addresses.
        if kind.family != "video":
            raise InputError(name, f"not a video: looks like {kind.name}")
        clip = VideoStream(stream, name)
        try:
            yield clip
        except InputError:
            raise
        except Exception as error:
            raise InputError(name, f"damaged or incomplete video; get the file again ({one_line(error)})") from error
        finally:
            clip.close()


def _frames(clip: VideoStream, targets: list[float], start: float, max_pixels: int) -> Iterator[Frame]:
    """Yield the frames shown at ``targets`` (seconds), each once; the video begins at ``start`` (seconds)."""
    index, last = 0, -math.inf
    for _, time, frame in clip.shown_at(targets):
        if time > last:
            yield Frame(index, max(0.0, time - start), _pixels(frame, clip.name, max_pixels))
            index, last = index + 1, time
    if not index:
        raise InputError(clip.name, _NOTHING_DECODES)


def _pixels(frame: Any, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Convert a decoded frame to ``uint8 [h, w, 3]`` RGB, rotated as its display matrix says.

    Raises:
        InputError: The frame is too large, or its pixel format cannot be converted.
    """
    if frame.width * frame.height > max_pixels:
        raise InputError(
            name, f"frames of {frame.width} × {frame.height} pixels, more than the limit of {max_pixels:,}"
        )
    try:
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    except FAILURES as error:
        raise InputError(name, f"frames of pixel format {frame.format.name} cannot be shown as RGB") from error
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
