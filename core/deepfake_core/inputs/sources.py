"""Expand the inputs of a user (files, folders, patterns, arrays, bytes, lists of them) into single inputs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import in_memory, name_of
from deepfake_core.inputs.folders import walk_folder
from deepfake_core.inputs.reading.memory import as_array, is_array, is_file_object, is_response, is_table, refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image
    OneInput: TypeAlias = Picture | bytearray | memoryview | BinaryIO | "Frames" | "Source"
    Inputs: TypeAlias = OneInput | Iterable["Inputs"]

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
)
"""Suffixes by which image files are found in folders, in lower case."""

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".insv", ".lrv", ".avi", ".divx", ".amv", ".mkv",
    ".mk3d", ".webm", ".wmv", ".asf", ".flv", ".ogv", ".rm", ".rmvb", ".ts", ".mts", ".m2ts", ".m2t", ".trp",
    ".tp", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".m2p", ".vob", ".evo", ".mod", ".tod", ".dv", ".dif",
    ".mxf", ".gxf", ".nut", ".wtv", ".dav", ".ivf", ".obu", ".y4m", ".h264", ".264", ".avc", ".h265", ".265",
    ".hevc",
})
# fmt: on
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


_ALONE = Source | Frames | bytes | bytearray | memoryview | Image.Image


def expand(inputs: Inputs, *, clips: bool = False) -> Iterator[Source]:
    """Yield every single input, in a stable order.

    - A folder gives the images and videos on all levels below it, recognised by their suffix and sorted by name.
      Hidden files and folders are left out, and links to folders are followed once.
    - A pattern (``*``, ``?``, ``[…]``, ``**``) gives the sorted files that match; folders that match are expanded.
    - An array ``[N, H, W, 3]`` or ``[N, 3, H, W]``, also of a library such as torch, gives N images.
    - A binary file object, or an upload of a web framework, gives one input: the bytes that are left to read.
    - A folder without images and videos is yielded unchanged, so that it becomes an error result.
    - A path that does not exist is yielded unchanged, so that it becomes an error result and does not end a batch.

    For a detector of clips, the images that lie directly in one folder are the frames of one video, in the order of
    their numbers (``2.jpg`` before ``10.jpg``). An array ``[T, H, W, 3]`` or ``[T, 3, H, W]`` is one video too, and an
    array with one more axis before these is N videos.

    Args:
        inputs: Inputs of the user.
        clips: Whether the inputs are for a detector of clips.

    Raises:
        TypeError: An input has a type that cannot be read.
        InputError: A file object was opened as text, or it cannot be read.
    """
    if isinstance(inputs, str | os.PathLike):
        yield from _expand_path(os.fsdecode(inputs), clips)
    elif isinstance(inputs, _ALONE) or is_file_object(inputs):
        yield as_source(inputs)
    elif is_array(inputs):
        yield from _expand_array(as_array(inputs), clips)
    elif isinstance(inputs, Iterable) and not (isinstance(inputs, Mapping) or is_table(inputs) or is_response(inputs)):
        for item in inputs:
            yield from expand(item, clips=clips)
    else:
        raise TypeError(refusal(inputs))


def as_source(single: OneInput) -> Source:
    """Return a single input with its name; a path is not expanded, and a file object is read to its end.

    Raises:
        InputError: A file object cannot be read, or this is nothing that holds a picture.
    """
    if isinstance(single, Source):
        return single
    if isinstance(single, Frames):
        return Source("<frames>", single)
    return Source(*in_memory(single))


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
        # A folder itself is an input where its pictures are the frames of a video.
        alone = [source.name == name_of(path) and not (source.data == path and _is_folder(path)) for source in sources]
        return not is_pattern and alone == [True]
    if is_array(inputs):
        return not _is_batch(as_array(inputs), clips)
    return isinstance(inputs, _ALONE) or is_file_object(inputs)


def has_video_suffix(name: str | os.PathLike[str]) -> bool:
    """Return whether the suffix of a file's name, or of an archive member's name, is that of a video file.

    Listings use it, because it opens nothing. Whoever opens the file anyway asks
    :func:`~deepfake_core.inputs.streams.opening.is_video`, which goes by the content.
    """
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def by_number(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts ``2.jpg`` before ``10.jpg``."""
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in _DIGITS.split(name))


def _is_batch(array: NDArray[Any], clips: bool) -> bool:
    """Tell whether an array holds several inputs: N images or videos, or a list of paths."""
    return array.dtype.kind in "OUS" or array.ndim == (5 if clips else 4)


def _expand_array(array: NDArray[Any], clips: bool) -> Iterator[Source]:
    if array.dtype.kind in "OUS":  # such as a column of paths
        yield from expand(array.tolist(), clips=clips)
    elif _is_batch(array, clips):
        for index, one in enumerate(array):
            yield Source(f"<array>[{index}]", _frames(one) if clips else one)
    else:
        yield Source("<array>", _frames(array) if clips and array.ndim == 4 else array)


def _frames(video: NDArray[Any]) -> Frames:
    """Return the frames of an array ``[T, H, W, 3]`` or ``[T, 3, H, W]``.

    Raises:
        InputError: The first two axes could be time and colour as well as colour and time.
    """
    if video.shape[0] == 3 and video.shape[1] in (1, 3) and video.shape[3] not in (1, 3, 4):
        raise InputError("<array>", f"array of shape {video.shape}: [T, C, H, W] or [C, T, H, W]; pass [T, H, W, C]")
    return Frames(list(video))


def _expand_path(path: str, clips: bool) -> Iterator[Source]:
    unchanged = Source(name_of(path), path)
    if _is_folder(path):
        found = False
        for source in _walk(path, set(), clips):
            found = True
            yield source
        if not found:
            yield unchanged
    elif glob.has_magic(path) and not os.path.lexists(path):
        # A file name may contain the characters of a pattern: an existing path, and a pattern without a match, are
        # yielded unchanged.
        yield from _matches(path, clips) or [unchanged]
    else:
        yield unchanged


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
            path = str(match)
            # Since Python 3.13, a last ** stands for files, too; here it means folders in every version.
            if (wants_hidden or not hidden) and (relative.name != "**" or _is_folder(path)):
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
