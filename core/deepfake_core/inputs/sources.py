"""Expand the inputs of a user (files, folders, patterns, arrays, bytes, lists of them) into single inputs."""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard

import numpy as np
from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import name_of
from deepfake_core.inputs.folders import walk_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image
    OneInput: TypeAlias = Picture | BinaryIO | "Frames" | "Source"
    Inputs: TypeAlias = OneInput | Iterable["Inputs"]

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
)
"""Suffixes by which image files are found in folders, in lower case."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)
"""Suffixes by which video files are found in folders, in lower case."""

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """One video as a sequence of separate images.

    Attributes:
        pictures: Frames in order, each a path, the bytes of a file, an array or a PIL image. An item of the sequence
            is accessed only when it is needed, so that the sequence may read it lazily.
    """

    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One input with its name.

    Attributes:
        name: Name of the input in results.
        data: Path (as ``str``), bytes of a file, array, PIL image, or frames of a video.
    """

    name: str
    data: str | bytes | NDArray[Any] | Image.Image | Frames


def expand(inputs: Inputs, *, clips: bool = False) -> Iterator[Source]:
    """Yield every single input, in a stable order.

    - A folder gives the images and videos on all levels below it, recognised by their suffix and sorted by name.
      Hidden files and folders are left out, and links to folders are followed once.
    - A pattern (``*``, ``?``, ``[…]``, ``**``) gives the sorted files that match; folders that match are expanded.
    - An array ``uint8 [N, H, W, 3]`` gives N images.
    - A binary file object gives one input: the bytes that are left to read.
    - A path that does not exist is yielded unchanged, so that it becomes an error result and does not end a batch.

    For a detector of clips, the images that lie directly in one folder are the frames of one video, in the order of
    their numbers (``2.jpg`` before ``10.jpg``). An array ``uint8 [T, H, W, 3]`` is one video too, and an array ``uint8
    [N, T, H, W, 3]`` is N videos.

    Args:
        inputs: Inputs of the user.
        clips: Whether the inputs are for a detector of clips.

    Raises:
        TypeError: An input has a type that cannot be read.
        InputError: A file object was opened as text, or it cannot be read.
    """
    if isinstance(inputs, str | os.PathLike):
        yield from _expand_path(os.fsdecode(inputs), clips)
    elif isinstance(inputs, Source | Frames | bytes | Image.Image) or is_file_object(inputs):
        yield as_source(inputs)
    elif isinstance(inputs, np.ndarray) and clips and inputs.ndim == 4:
        yield Source(name_of(inputs), Frames(list(inputs)))
    elif isinstance(inputs, np.ndarray) and inputs.ndim == (5 if clips else 4):
        for index, one in enumerate(inputs):
            yield Source(f"<array>[{index}]", Frames(list(one)) if clips else one)
    elif isinstance(inputs, np.ndarray):
        yield as_source(inputs)
    elif isinstance(inputs, Iterable):
        for item in inputs:
            yield from expand(item, clips=clips)
    else:
        raise TypeError(
            f"cannot expand {type(inputs).__name__}; pass paths, bytes, arrays, PIL images or lists of them"
        )


def as_source(single: OneInput) -> Source:
    """Return a single input with its name; a path is not expanded, and a file object is read to its end.

    Raises:
        InputError: A file object was opened as text or cannot be read, or this is something else altogether.
    """
    if isinstance(single, Source):
        return single
    if isinstance(single, Frames):
        return Source("<frames>", single)
    if isinstance(single, str | os.PathLike):
        return Source(name_of(single), os.fsdecode(single))
    if isinstance(single, bytes | np.ndarray | Image.Image):
        return Source(name_of(single), single)
    if is_file_object(single):
        return _read(single)
    kind = type(single).__name__
    raise InputError(f"<{kind}>", f"cannot read a picture from {kind}; pass a path, bytes or an array")


def is_one_input(inputs: Inputs, sources: Iterable[Source], *, clips: bool = False) -> bool:
    """Return whether the inputs are a single one, for which ``predict`` returns one result instead of a list.

    A folder or a pattern is never a single input, even if it holds one file.

    Args:
        inputs: Inputs as :func:`expand` takes them.
        sources: Expansion of a path by :func:`expand`; it is used for paths only.
        clips: Whether the inputs are for a detector of clips.
    """
    if isinstance(inputs, str | os.PathLike):
        path = os.fsdecode(inputs)
        is_pattern = glob.has_magic(path) and not os.path.lexists(path)
        return not is_pattern and [source.name for source in sources] == [name_of(path)]
    if isinstance(inputs, np.ndarray):
        return inputs.ndim != (5 if clips else 4)
    return isinstance(inputs, bytes | Image.Image | Frames | Source) or is_file_object(inputs)


def is_file_object(inputs: object) -> TypeGuard[BinaryIO]:
    """Tell whether something is an open file, or can be read as one."""
    return hasattr(inputs, "read")


def _read(file: BinaryIO) -> Source:
    """Read the rest of an open file as one input.

    Raises:
        InputError: The file was opened as text, or it cannot be read.
    """
    name = getattr(file, "name", None)
    name = name_of(name) if isinstance(name, str | os.PathLike) else "<file>"
    try:
        data = b"" if isinstance(file, io.TextIOBase) else file.read()
    except (OSError, ValueError) as error:  # a closed file raises ValueError
        raise InputError(name, f"cannot be read ({error})") from error
    if isinstance(file, io.TextIOBase) or not isinstance(data, bytes):
        raise InputError(name, "is open as text; open it in binary mode, as in open(path, 'rb')")
    return Source(name, data)


def has_video_suffix(name: str | os.PathLike[str]) -> bool:
    """Return whether the suffix of a file's name, or of an archive member's name, is that of a video file.

    Listings use it, because it opens nothing. Whoever opens the file anyway asks
    :func:`~deepfake_core.inputs.decode.is_video`, which goes by the content.
    """
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def by_number(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts ``2.jpg`` before ``10.jpg``."""
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in _DIGITS.split(name))


def _expand_path(path: str, clips: bool) -> Iterator[Source]:
    if _is_folder(path):
        yield from _walk(path, set(), clips)
    elif glob.has_magic(path) and not os.path.lexists(path):
        # A file name may contain the characters of a pattern: an existing path, and a pattern without a match, are
        # yielded unchanged.
        yield from _matches(path, clips) or [Source(name_of(path), path)]
    else:
        yield Source(name_of(path), path)


def _matches(pattern: str, clips: bool) -> list[Source]:
    """Return the files that match a pattern and the content of folders that match: sorted, without duplicates."""
    base = Path(Path(pattern).anchor)
    relative = Path(pattern).relative_to(base)
    wants_hidden = any(part.startswith(".") for part in relative.parts)
    found: dict[str, Source] = {}
    entered: set[str] = set()
    try:
        for match in sorted(base.glob(str(relative))):
            hidden = any(part.startswith(".") for part in match.relative_to(base).parts)
            if wants_hidden or not hidden:
                path = str(match)
                sources = _walk(path, entered, clips) if _is_folder(path) else [Source(name_of(path), path)]
                found.update((source.name, source) for source in sources)
    except (OSError, ValueError):
        # The pattern is not valid, so that its text becomes an error result.
        return []
    return list(found.values())


def _is_folder(path: str) -> bool:
    try:
        return bool(path) and Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _walk(folder: str, entered: set[str], clips: bool) -> Iterator[Source]:
    """Yield the images and videos below a folder, in the order of :func:`~deepfake_core.inputs.folders.walk_folder`.

    Args:
        folder: Folder to begin with.
        entered: Real paths of the folders that were entered already. The walk adds its own.
        clips: Whether the images that lie directly in one folder are the frames of one video.
    """
    for root, shown in walk_folder(folder, files_first=True, entered=entered, skip_unreadable=True):
        pictures = [name for name in shown if Path(name).suffix.lower() in PICTURE_SUFFIXES]
        if clips and pictures:
            yield Source(name_of(root), Frames([str(Path(root, name)) for name in sorted(pictures, key=by_number)]))
        alone = VIDEO_SUFFIXES if clips else PICTURE_SUFFIXES | VIDEO_SUFFIXES
        for name in shown:
            if Path(name).suffix.lower() in alone:
                path = str(Path(root, name))
                yield Source(name_of(path), path)
