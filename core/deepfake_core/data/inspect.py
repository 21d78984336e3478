"""Inspect every file of a dataset once: whether it is whole, what it contains, and its hashes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.fact_cache import FactCache, Key, key_of
from deepfake_core.datasets import Dataset
from deepfake_core.errors import InputError, MissingExtra
from deepfake_core.evaluation.samples import in_any_order
from deepfake_core.inputs.decode import decode, one_line, open_stream, read_head
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.sniff import sniff
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import end_frames
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import is_told, track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import sha256_file

if TYPE_CHECKING:
    from deepfake_core.datasets import Sample


AT_ONCE = 1 << 26
"""Size in bytes up to which a file is read into memory as a whole."""


@dataclass(frozen=True, slots=True)
class Want:
    """Facts to find out about each file.

    Attributes:
        content: Whether to decode the file: an image in full, and the first and the last frame of a video. If it is
            false, every file is hashed and nothing else is found out.
        digest: Files whose bytes are hashed by sha256; videos can be large.
        phash: Whether to compute the perceptual hash of images.
        face: Whether to measure the largest face.
    """

    content: bool = True
    digest: Literal["none", "pictures", "all"] = "all"
    phash: bool = False
    face: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about one file; fields that were not asked for keep their defaults.

    Attributes:
        size_bytes: Size of the file, or of the archive's member, in bytes.
        sha256: Hex digest of the bytes.
        error: Reason why the file cannot be used; ``""`` for a file that is whole.
        video: Whether the file is a video.
        format: File format by its content: ``"JPEG"``, ``"PNG"``, ….
        mode: Colour mode of an image, such as ``"RGB"``.
        width: Width as shown, in pixels.
        height: Height as shown, in pixels.
        brightness: Mean of all channels in [0, 1], for a video that of its first frame.
        phash: Perceptual hash of an image, 64 bits.
        face: Longer side of the largest face in pixels, for a video in its first frame; 0 if there is no face.
    """

    size_bytes: int = 0
    sha256: str = ""
    error: str = ""
    video: bool = False
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    brightness: float | None = None
    phash: int | None = None
    face: float | None = None

    def covers(self, want: Want) -> bool:
        """Return whether these facts, about a file that is whole, include everything that is wanted."""
        return (
            (bool(self.sha256) or not _hashes(want, self.video))
            and (self.brightness is not None or not want.content)
            and (self.phash is not None or self.video or not want.phash)
            and (self.face is not None or not want.face)
        )


def inspect(data: Path | bytes, name: str, want: Want) -> Facts:
    """Inspect one file; a problem with it is stated in :attr:`Facts.error` and never raised.

    Args:
        data: Path of the file, or its bytes.
        name: Name of the file in messages.
        want: Facts to find out.
    """
    known: dict[str, object] = {}
    try:
        known["size_bytes"] = len(data) if isinstance(data, bytes) else data.stat().st_size
        if not want.content:
            return Facts(sha256=digest(data), **known)  # type: ignore[arg-type]
        with open_stream(data, name) as stream:
            kind = sniff(read_head(stream, name))
        moves = is_video(data)
        known |= {"format": kind.name, "video": moves}
        if _hashes(want, moves):
            known["sha256"] = digest(data)
        known |= (_video if moves else _picture)(data, name, want)
    except InputError as error:
        known["error"] = error.reason
    except OSError as error:
        known["error"] = f"cannot be read: {one_line(error)}"
    return Facts(**known)  # type: ignore[arg-type]


def _hashes(want: Want, video: bool) -> bool:
    return want.digest == "all" or (want.digest == "pictures" and not video)


def digest(data: Path | bytes) -> str:
    """Return the sha256 of a file or of bytes as a hex digest."""
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else sha256_file(data)


def at_once(data: Path | bytes, name: str) -> tuple[Path | bytes, Facts | None]:
    """Read an image file into memory and hash it, so that it is read only once.

    Args:
        data: Path of the file, or its bytes.
        name: Name of the file in messages.

    Returns:
        The bytes, and the facts ``size_bytes`` and ``sha256``. For a file larger than :data:`AT_ONCE` it is the path
        and ``None``.

    Raises:
        InputError: The file is missing, empty or not a regular file.
        OSError: The file cannot be read.
    """
    if not isinstance(data, bytes):
        with open_stream(data, name) as stream:
            if data.stat().st_size > AT_ONCE:
                return data, None
            data = stream.read()
    return data, Facts(size_bytes=len(data), sha256=digest(data))


def remember(cache: FactCache, key: Key | None, facts: Facts | None) -> None:
    """Store the facts about a file in the cache, where there are a key and facts."""
    if key is not None and facts is not None:
        cache.put(key, json.dumps(asdict(facts)))


def inspect_all(
    dataset: Dataset,
    want: Want,
    *,
    cache: FactCache | None = None,
    max_images: int | None = None,
    threads: int | None = None,
    description: str = "checking",
) -> Iterator[tuple[Sample, Facts | None]]:
    """Yield every sample of a dataset with the facts about its file, in the dataset's order.

    Args:
        dataset: Dataset to inspect. It is listed once more beforehand where ``max_images`` needs it, or where its
            progress is told and listing is cheap.
        want: Facts to find out.
        cache: Cache of facts. Files that it knows to be whole and unchanged are not read again; new facts are added.
        max_images: Most files that are inspected, evenly spread over the dataset; the facts of the others are ``None``.
        threads: Number of threads; by default as many as the process may use.
        description: Label of the progress bar.
    """
    threads = threads or allowed_threads()
    # Listing is cheap, except for datasets that have to decompress everything for it.
    is_counted = max_images is not None or (is_told() and in_any_order(dataset))
    total = sum(1 for _ in dataset) if is_counted else None

    def items() -> Iterator[_Item]:
        for row, (sample, data) in enumerate(track(dataset.stream(), description, total=total)):
            if total is not None and max_images is not None and not _chosen(row, max_images, total):
                yield _Item(sample, b"", chosen=False)
            else:
                key = key_of(sample) if cache is not None else None
                yield _Item(sample, data, key, _cached(cache, key, want))

    def work(item: _Item) -> _Item:
        return replace(item, facts=inspect(item.data, item.sample.name, want), data=b"", is_new=True)

    def known(item: _Item) -> _Item | None:
        return None if item.chosen and item.facts is None else item

    with closing(ordered_map(work, items(), workers=threads, known=known)) as inspected:
        for item in inspected:
            # A file with an error is inspected each time: the drive may have failed rather than the file.
            if cache is not None and item.is_new and item.facts is not None and not item.facts.error:
                remember(cache, item.key, item.facts)
            yield item.sample, item.facts


@dataclass(frozen=True, slots=True)
class _Item:
    """One sample on its way through :func:`inspect_all`."""

    sample: Sample
    data: Path | bytes
    key: Key | None = None
    facts: Facts | None = None
    chosen: bool = True
    is_new: bool = False


def _chosen(row: int, wanted: int, total: int) -> bool:
    """Return whether a row is one of ``wanted`` rows that are evenly spread over ``total``."""
    return (row + 1) * wanted // total > row * wanted // total


def _cached(cache: FactCache | None, key: Key | None, want: Want) -> Facts | None:
    stored = cache.get(key) if cache is not None and key is not None else None
    if stored is None:
        return None
    facts = Facts(**json.loads(stored))
    return facts if facts.covers(want) else None


def _picture(data: Path | bytes, name: str, want: Want) -> dict[str, object]:
    picture = decode(data, name=name)
    known: dict[str, object] = {
        "mode": picture.mode,
        "width": picture.width,
        "height": picture.height,
        "brightness": _brightness(picture.pixels),
    }
    if want.phash:
        known["phash"] = phash(picture.pixels)
    if want.face:
        known["face"] = _face(picture.pixels)
    return known


def _video(data: Path | bytes, name: str, want: Want) -> dict[str, object]:
    ends = end_frames(data, name=name)
    height, width = ends.first.pixels.shape[:2]
    known: dict[str, object] = {"width": width, "height": height, "brightness": _brightness(ends.first.pixels)}
    if not ends.whole:
        known["error"] = "ends before its stated length; get the file again"
    if want.face:
        known["face"] = _face(ends.first.pixels)
    return known


def _brightness(pixels: NDArray[np.uint8]) -> float:
    step = max(1, min(pixels.shape[:2]) // 256)
    return round(float(pixels[::step, ::step].mean()) / 255, 4)


def _face(pixels: NDArray[np.uint8]) -> float:
    if not hasattr(_local, "finder"):
        _local.finder = FaceFinder()
    finder: FaceFinder = _local.finder
    return round(max((max(face.box.width, face.box.height) for face in finder.find(pixels)), default=0.0), 1)


def phash(pixels: NDArray[np.uint8]) -> int:
    """Return the perceptual hash of ``uint8 [h, w, 3]`` RGB as an integer of 64 bits.

    Its bits tell which of the lowest 8 × 8 coefficients of the discrete cosine transform exceed their median.

    Raises:
        MissingExtra: The ``imagehash`` package is not installed.
    """
    try:
        from imagehash import phash as perceptual_hash
    except ModuleNotFoundError as error:
        raise MissingExtra("finding near-duplicates", "deepfake-core[data]") from error
    from PIL import Image

    bits = np.packbits(perceptual_hash(Image.fromarray(pixels)).hash)
    return int.from_bytes(bits.tobytes(), "big")


_local = threading.local()
