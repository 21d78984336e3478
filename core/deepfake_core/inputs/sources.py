"""Expand what a user names (files, folders, patterns, arrays, bytes, lists of them) into single inputs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from deepfake_core.inputs.decode import name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Single: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image
    Inputs: TypeAlias = Single | Iterable["Inputs"]

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
)
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One input.

    Attributes:
        name: What to call it in results.
        data: A path (as ``str``), the bytes of a file, an array or a PIL image.
    """

    name: str
    data: str | bytes | NDArray[Any] | Image.Image


def expand(inputs: Inputs) -> Iterator[Source]:
    """Yield every single input, in a stable order.

    A folder gives its pictures and videos, known by their suffix, of all levels, sorted by name; hidden files and
    folders are left out, and links to folders are followed once. A pattern (``*``, ``?``, ``[…]``, ``**``) gives
    the sorted files that match; folders that match are expanded. An array ``uint8 [N, H, W, 3]`` gives N pictures.
    A path that does not exist is yielded as it is: it becomes an error result rather than the end of a batch.
    """
    if isinstance(inputs, str | os.PathLike):
        yield from _expand_path(os.fsdecode(inputs))
    elif isinstance(inputs, np.ndarray) and inputs.ndim == 4:
        for index, picture in enumerate(inputs):
            yield Source(f"<array>[{index}]", picture)
    elif isinstance(inputs, bytes | np.ndarray | Image.Image):
        yield Source(name_of(inputs), inputs)
    elif isinstance(inputs, Iterable):
        for item in inputs:
            yield from expand(item)
    else:
        raise TypeError(
            f"cannot expand {type(inputs).__name__}; pass paths, bytes, arrays, PIL images or lists of them"
        )


def _expand_path(path: str) -> Iterator[Source]:
    if _is_folder(path):
        names = _walk(path, set())
    elif glob.has_magic(path) and not os.path.lexists(path):
        # A name may hold a pattern's characters, so what exists is taken as it is, and so is what matches nothing.
        names = iter(_matches(path) or [path])
    else:
        names = iter([path])
    yield from (Source(name_of(name), name) for name in names)


def _matches(pattern: str) -> list[str]:
    """Files that match, and pictures and videos of folders that match: sorted, each once, none hidden."""
    base = Path(Path(pattern).anchor)
    relative = Path(pattern).relative_to(base)
    wants_hidden = any(part.startswith(".") for part in relative.parts)
    found: dict[str, None] = {}
    entered: set[str] = set()
    try:
        for match in sorted(base.glob(str(relative))):
            hidden = any(part.startswith(".") for part in match.relative_to(base).parts)
            if wants_hidden or not hidden:
                found.update(dict.fromkeys(_walk(str(match), entered) if _is_folder(str(match)) else [str(match)]))
    except (OSError, ValueError):
        # Not a valid pattern after all: the name itself becomes the error result.
        return []
    return list(found)


def _is_folder(path: str) -> bool:
    try:
        return bool(path) and Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _walk(folder: str, entered: set[str]) -> Iterator[str]:
    """Pictures and videos below a folder, sorted; each folder is entered once, whatever links lead to it.

    Args:
        folder: Where to begin.
        entered: Real paths of the folders that were listed already; those of this walk are added.
    """
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if not name.startswith(".") and (suffix in PICTURE_SUFFIXES or suffix in VIDEO_SUFFIXES):
                yield str(Path(root, name))
