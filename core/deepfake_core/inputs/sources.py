"""Expand what a user names (files, folders, patterns, arrays, bytes, lists of them) into single inputs."""

from __future__ import annotations

import glob
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
    Single: TypeAlias = Picture | BinaryIO | "Frames" | "Source"
    Inputs: TypeAlias = Single | Iterable["Inputs"]

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
)
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)


_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """One video as single pictures, in order: each is a path, the bytes of a file, an array or a PIL image.

    They are taken from the sequence when they are needed, so that it may read them only then.
    """

    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One input.

    Attributes:
        name: What to call it in results.
        data: A path (as ``str``), the bytes of a file, an array, a PIL image, or the frames of a video.
    """

    name: str
    data: str | bytes | NDArray[Any] | Image.Image | Frames


def expand(inputs: Inputs, *, clips: bool = False) -> Iterator[Source]:
    """Yield every single input, in a stable order.

    A folder gives its pictures and videos, known by their suffix, of all levels, sorted by name; hidden files and
    folders are left out, and links to folders are followed once. A pattern (``*``, ``?``, ``[…]``, ``**``) gives
    the sorted files that match; folders that match are expanded. An array ``uint8 [N, H, W, 3]`` gives N pictures.
    A binary file object gives what is left to read in it.
    A path that does not exist is yielded as it is: it becomes an error result rather than the end of a batch.

    For detectors of ``clips``, the pictures that lie directly in a folder are the frames of one video, in the order
    of their numbers (``2.jpg`` before ``10.jpg``), and so are those of an array ``uint8 [T, H, W, 3]``.
    """
    if isinstance(inputs, str | os.PathLike):
        yield from _expand_path(os.fsdecode(inputs), clips)
    elif isinstance(inputs, Source):
        yield inputs
    elif isinstance(inputs, Frames):
        yield Source("<frames>", inputs)
    elif isinstance(inputs, np.ndarray) and clips and inputs.ndim == 4:
        yield Source(name_of(inputs), Frames(list(inputs)))
    elif isinstance(inputs, np.ndarray) and inputs.ndim == (5 if clips else 4):
        for index, one in enumerate(inputs):
            yield Source(f"<array>[{index}]", Frames(list(one)) if clips else one)
    elif isinstance(inputs, bytes | np.ndarray | Image.Image):
        yield Source(name_of(inputs), inputs)
    elif _is_file_object(inputs):
        yield _read(inputs)
    elif isinstance(inputs, Iterable):
        for item in inputs:
            yield from expand(item, clips=clips)
    else:
        raise TypeError(
            f"cannot expand {type(inputs).__name__}; pass paths, bytes, arrays, PIL images or lists of them"
        )


def is_one_input(inputs: Inputs, sources: Iterable[Source], *, clips: bool = False) -> bool:
    """Whether inputs stand for a single one, whose answer is no list.

    A folder and a pattern stand for several, even where they hold one file.

    Args:
        inputs: Inputs as :func:`expand` takes them.
        sources: What a path expands to; read for paths only.
        clips: Whether the detector takes clips.
    """
    if isinstance(inputs, str | os.PathLike):
        path = os.fsdecode(inputs)
        is_pattern = glob.has_magic(path) and not os.path.lexists(path)
        return not is_pattern and [source.name for source in sources] == [name_of(path)]
    if isinstance(inputs, np.ndarray):
        return inputs.ndim != (5 if clips else 4)
    return isinstance(inputs, bytes | Image.Image | Frames | Source) or _is_file_object(inputs)


def _is_file_object(inputs: object) -> TypeGuard[BinaryIO]:
    return hasattr(inputs, "read")


def _read(file: BinaryIO) -> Source:
    """The rest of an open file, as one input.

    Raises:
        InputError: The file was opened as text, or cannot be read.
    """
    name = getattr(file, "name", None)
    name = name_of(name) if isinstance(name, str | os.PathLike) else "<file>"
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # a closed file raises ValueError
        raise InputError(name, f"cannot be read ({error})") from error
    if not isinstance(data, bytes):
        raise InputError(name, "is open as text; open it in binary mode, as in open(path, 'rb')")
    return Source(name, data)


def has_video_suffix(name: str | os.PathLike[str]) -> bool:
    """Return whether the suffix of a file's name, or of an archive member's name, is that of a video file.

    Listings use it, because it opens nothing. Whoever opens the file anyway asks
    :func:`~deepfake_core.inputs.decode.is_video`, which goes by the content.
    """
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def by_number(name: str) -> tuple[tuple[int, str], ...]:
    """Key that sorts ``2.jpg`` before ``10.jpg``."""
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in _DIGITS.split(name))


def _expand_path(path: str, clips: bool) -> Iterator[Source]:
    if _is_folder(path):
        yield from _walk(path, set(), clips)
    elif glob.has_magic(path) and not os.path.lexists(path):
        # A name may hold a pattern's characters, so what exists is taken as it is, and so is what matches nothing.
        yield from _matches(path, clips) or [Source(name_of(path), path)]
    else:
        yield Source(name_of(path), path)


def _matches(pattern: str, clips: bool) -> list[Source]:
    """Files that match, and what is in folders that match: sorted, each once, none hidden."""
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
        # Not a valid pattern after all: the name itself becomes the error result.
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
