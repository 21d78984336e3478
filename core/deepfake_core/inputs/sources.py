"""Expand what a user names (files, folders, patterns, arrays, bytes, lists of them) into single inputs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from deepfake_core.inputs.decode import name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image
    Single: TypeAlias = Picture | "Frames" | "Source"
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
    elif isinstance(inputs, Iterable):
        for item in inputs:
            yield from expand(item, clips=clips)
    else:
        raise TypeError(
            f"cannot expand {type(inputs).__name__}; pass paths, bytes, arrays, PIL images or lists of them"
        )


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
    """Pictures and videos below a folder, sorted; each folder is entered once, whatever links lead to it.

    Args:
        folder: Where to begin.
        entered: Real paths of the folders that were listed already; those of this walk are added.
        clips: Whether the pictures of one folder are one video.
    """
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = sorted(name for name in files if not name.startswith("."))
        pictures = [name for name in shown if Path(name).suffix.lower() in PICTURE_SUFFIXES]
        if clips and pictures:
            yield Source(name_of(root), Frames([str(Path(root, name)) for name in sorted(pictures, key=by_number)]))
        alone = VIDEO_SUFFIXES if clips else PICTURE_SUFFIXES | VIDEO_SUFFIXES
        for name in shown:
            if Path(name).suffix.lower() in alone:
                path = str(Path(root, name))
                yield Source(name_of(path), path)
