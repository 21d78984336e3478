"""Tell whether a file moves, whatever it is called, and open it."""

from __future__ import annotations

import os
from typing import IO

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import name_of, open_stream, read_head
from deepfake_core.inputs.reading.limits import pixel_limit
from deepfake_core.inputs.sniff import sniff
from deepfake_core.inputs.streams.animation import animation
from deepfake_core.inputs.streams.moving import Moving


def is_video(source: str | os.PathLike[str] | bytes) -> bool:
    """Return whether a file, or the bytes of one, is a video or an animated image; false if it cannot be read.

    The content decides. What no format of images, texts or archives begins with is opened as a video, to see whether
    it is one. Listings that open nothing use :func:`~deepfake_core.inputs.sources.has_video_suffix` instead.
    """
    name = name_of(source)
    try:
        with open_stream(source, name) as stream:
            family = sniff(read_head(stream, name)).family
            if family != "video":
                open_moving(stream, name).close()
            return True
    except InputError:
        return False


def open_moving(stream: IO[bytes], name: str, max_pixels: int | None = None) -> Moving:
    """Open a video or an animated image.

    Args:
        stream: Open file at its start.
        name: Name of the input in messages.
        max_pixels: Most pixels of a frame; by default the limit for images.

    Raises:
        InputError: The file is neither, or it has no picture stream, or it is damaged.
    """
    kind, limit = sniff(read_head(stream, name)), pixel_limit(max_pixels)
    found: Moving | None = None
    if kind.family == "picture":
        found = animation(stream, kind, name, limit)
    elif kind.family in ("video", "unknown"):
        from deepfake_core.inputs.streams.joined import open_container

        try:
            return open_container(stream, name, limit)
        except InputError:
            if kind.family == "video":
                raise
    if found is None:
        raise InputError(name, f"not a video: looks like {kind.name}")
    return found
