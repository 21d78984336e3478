"""Look into every file of a dataset once: is it whole, what is it, and has it been seen before."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.state import Key, State, key_of
from deepfake_core.datasets import Dataset
from deepfake_core.errors import InputError, MissingExtra
from deepfake_core.inputs.decode import decode, one_line, open_stream, read_head
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.sniff import sniff
from deepfake_core.inputs.video import end_frames
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import sha256_file

if TYPE_CHECKING:
    from deepfake_core.datasets import Sample


AT_ONCE = 1 << 26
"""Most bytes of a file that is taken into memory whole."""


@dataclass(frozen=True, slots=True)
class Want:
    """What to find out about each file.

    Attributes:
        content: Decode it: pictures in full, of videos the first and the last frame. Without, the rest but the
            digest of every file is not found out either.
        digest: sha256 of the bytes of which files; videos can be large.
        phash: Perceptual hash, of pictures.
        face: Side of its largest face.
    """

    content: bool = True
    digest: Literal["none", "pictures", "all"] = "all"
    phash: bool = False
    face: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one file; fields that were not asked for keep their defaults.

    Attributes:
        size_bytes: Of the file, or of the archive's member.
        sha256: Hex digest of its bytes.
        error: Why it cannot be used; ``""`` for a file that is whole.
        video: Whether it is a video.
        format: ``"JPEG"``, ``"PNG"``, …, by its content.
        mode: Colour mode, such as ``"RGB"``, of pictures.
        width, height: As shown, in pixels.
        brightness: Mean of all channels in [0, 1]; of videos, of the first frame.
        phash: Perceptual hash of 64 bits, of pictures.
        face: Longer side of the largest face in pixels, 0 without a face; of videos, in the first frame.
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
        """Whether everything wanted is known of a file that is whole."""
        return (
            (bool(self.sha256) or not _hashes(want, self.video))
            and (self.brightness is not None or not want.content)
            and (self.phash is not None or self.video or not want.phash)
            and (self.face is not None or not want.face)
        )


def inspect(data: Path | bytes, name: str, want: Want) -> Facts:
    """Look into one file; what is wrong with it is in ``error``, never raised.

    Args:
        data: Its path or its bytes.
        name: What to call it.
        want: What to find out.
    """
    known: dict[str, object] = {}
    try:
        known["size_bytes"] = len(data) if isinstance(data, bytes) else data.stat().st_size
        if not want.content:
            return Facts(sha256=digest(data), **known)  # type: ignore[arg-type]
        with open_stream(data, name) as stream:
            kind = sniff(read_head(stream, name))
        known |= {"format": kind.name, "video": kind.family == "video"}
        if _hashes(want, kind.family == "video"):
            known["sha256"] = digest(data)
        known |= (_video if kind.family == "video" else _picture)(data, name, want)
    except InputError as error:
        known["error"] = error.reason
    except OSError as error:
        known["error"] = f"cannot be read: {one_line(error)}"
    return Facts(**known)  # type: ignore[arg-type]


def _hashes(want: Want, video: bool) -> bool:
    return want.digest == "all" or (want.digest == "pictures" and not video)


def digest(data: Path | bytes) -> str:
    """Hex sha256 of a file or of bytes."""
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else sha256_file(data)


def at_once(data: Path | bytes, name: str) -> tuple[Path | bytes, Facts | None]:
    """A picture's file in memory, and its size and hash, so that one reading does for both.

    A file of more than :data:`AT_ONCE` stays where it is, and nothing is known of it.

    Raises:
        InputError: The file is missing, empty or no regular file.
        OSError: It cannot be read.
    """
    if not isinstance(data, bytes):
        with open_stream(data, name) as stream:
            if data.stat().st_size > AT_ONCE:
                return data, None
            data = stream.read()
    return data, Facts(size_bytes=len(data), sha256=digest(data))


def remember(state: State, key: Key | None, facts: Facts | None) -> None:
    """Put what is known of a file into the state, unless it is nothing."""
    if key is not None and facts is not None:
        state.put(key, json.dumps(asdict(facts)))


def inspect_all(
    dataset: Dataset,
    want: Want,
    *,
    state: State | None = None,
    max_images: int | None = None,
    threads: int | None = None,
    description: str = "checking",
) -> Iterator[tuple[Sample, Facts | None]]:
    """Yield every sample, in the dataset's order, with what its file is.

    Args:
        dataset: What to go through; its list is read once more before, where that is cheap or ``max_images`` needs it.
        want: What to find out.
        state: Whole files that it knows unchanged are not looked into again; it takes what is found.
        max_images: Look into this many files at most, evenly spread; the others come with ``None``.
        threads: By default what the machine allows.
        description: What progress is called.
    """
    threads = threads or allowed_threads()
    # Listing is cheap but where it means to decompress everything.
    listed = type(dataset).stream is Dataset.stream
    total = sum(1 for _ in dataset) if listed or max_images is not None else None
    pending: deque[tuple[Sample, Key | None, Future[Facts] | Facts | None]] = deque()

    def finished() -> tuple[Sample, Facts | None]:
        sample, key, found = pending.popleft()
        if isinstance(found, Future):
            found = found.result()
            # What cannot be used is looked into each time: a drive may have failed rather than the file.
            if state is not None and not found.error:
                remember(state, key, found)
        return sample, found

    with ThreadPoolExecutor(threads) as pool:
        try:
            for row, (sample, data) in enumerate(track(dataset.stream(), description, total=total)):
                if total is not None and max_images is not None and not _chosen(row, max_images, total):
                    pending.append((sample, None, None))
                else:
                    key = key_of(sample) if state is not None else None
                    known = _known(state, key, want)
                    pending.append((sample, key, known or pool.submit(inspect, data, sample.name, want)))
                # A bounded window, so that members of archives do not pile up in memory.
                while len(pending) > 4 * threads:
                    yield finished()
            while pending:
                yield finished()
        finally:
            for _, _, found in pending:
                if isinstance(found, Future):
                    found.cancel()


def _chosen(row: int, wanted: int, total: int) -> bool:
    """Whether a row is among ``wanted`` rows evenly spread over ``total``."""
    return (row + 1) * wanted // total > row * wanted // total


def _known(state: State | None, key: Key | None, want: Want) -> Facts | None:
    stored = state.get(key) if state is not None and key is not None else None
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
    """Perceptual hash of ``uint8 [h, w, 3]`` RGB, 64 bits: the signs of its lowest cosine frequencies.

    Raises:
        MissingExtra: The library is absent.
    """
    try:
        from imagehash import phash as perceptual_hash
    except ModuleNotFoundError as error:
        raise MissingExtra("finding near-duplicates", "deepfake-core[data]") from error
    from PIL import Image

    bits = np.packbits(perceptual_hash(Image.fromarray(pixels)).hash)
    return int.from_bytes(bits.tobytes(), "big")


_local = threading.local()
