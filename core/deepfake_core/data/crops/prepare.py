"""From any dataset to a store of crops: decode, find the largest face, cut, encode."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ValidationError

from deepfake_core.data.crops.writer import PARTS, Crop, Outcome, ShardWriter
from deepfake_core.data.inspect import Facts, at_once, remember
from deepfake_core.data.state import in_turn, key_of
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import (
    HASHES,
    INDEX,
    RECORD,
    REJECTED,
    SHARDS,
    CropStore,
    StoreSpec,
    read_record,
)
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import crop_side, resize, scale_box
from deepfake_core.inputs.decode import decode, is_video, one_line
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.video import Frame, sample_clips, sample_frames
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import Clip, FaceCrop, Resize

log = logging.getLogger("deepfake.training")

T = TypeVar("T")
R = TypeVar("R")

# A large JPEG is first decoded at a reduced scale with at least this longer side: twice what the face finder looks
# at, so that most faces can be cut from it as well.
_FIRST_LOOK_SIDE = 1280
# Samples that are read ahead, per thread: enough to keep all busy, few enough to bound memory.
_AHEAD = 4

NO_FACE = "no face found"
"""Why a picture or frame is left out that can be read."""


def prepare(
    dataset: Dataset,
    out: str | Path,
    *,
    crop: Literal["face", "whole"] = "face",
    side: int = 320,
    margin: float = 1.7,
    quality: int | None = 95,
    frames: int = 16,
    clip: Clip | None = None,
    max_images: int | None = None,
    shard_mb: float = 256,
    workers: int | None = None,
    rebuild: bool = False,
) -> CropStore:
    """Make the store of a dataset's crops, go on with an interrupted one, or open the one that is there.

    What cannot be read or shows no face is left out and listed with the reason in ``rejected.csv``. Memory does
    not grow with the number of pictures. A dataset that is a store already is returned as it is.

    Args:
        dataset: Pictures and videos; of a video several frames are taken.
        out: Folder of the store. One process writes it at a time; others wait.
        crop: ``face`` stores the square around the largest face, as far as the picture reaches. ``whole`` stores
            the picture, without a box, at most ``2 · side`` long.
        side: Longest side of a stored square in pixels; larger ones are reduced, none is enlarged.
        margin: Side of the square over the longer side of the face's box. It must exceed that of the detectors.
        quality: Of JPEG with full colour resolution; ``None`` for lossless PNG.
        frames: Frames taken of each video, evenly spread.
        clip: Clips taken of each video instead, as many as have ``frames`` frames.
        max_images: Most pictures or videos taken, evenly spread over the dataset.
        shard_mb: Size of one shard in megabytes; an interrupted run repeats less than one.
        workers: Threads; by default as many as the process may use.
        rebuild: Replace a store that was made otherwise or of other data.

    Raises:
        TrainingDataError: The folder holds a store made otherwise, or something else; no sample was usable; or a
            setting is out of its range.
    """
    if isinstance(dataset, StoredCrops):
        return dataset.store
    try:
        spec = StoreSpec(
            crop=crop, side=side, margin=margin, quality=quality, frames=frames, clip=clip, max_images=max_images
        )
    except ValidationError as error:
        problems = (f"{problem['loc'][0]}={problem['input']}: {problem['msg']}" for problem in error.errors())
        raise TrainingDataError(f"a store cannot be made with {'; '.join(problems)}") from error
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        store = _existing(folder, dataset, spec, rebuild=rebuild)
        return _write(folder, dataset, spec, round(shard_mb * 1e6), workers) if store is None else store


def _existing(folder: Path, dataset: Dataset, spec: StoreSpec, *, rebuild: bool) -> CropStore | None:
    """The complete store in the folder, or ``None`` when it has to be written or continued."""
    found = {path.name for path in folder.iterdir() if not path.name.startswith(HASHES)} - {".lock"}
    ours = {SHARDS, INDEX, PARTS, RECORD, REJECTED}
    if foreign := sorted(name for name in found - ours if not name.endswith(".tmp")):
        raise TrainingDataError(f"{folder}: holds {foreign[0]!r}, which is no part of a store; choose another folder")
    problem = "" if RECORD in found or not found else "it has no record"
    record: dict[str, Any] = {}
    if RECORD in found:
        try:
            record = read_record(folder)
        except TrainingDataError as error:
            problem = str(error)
        problem = problem or _difference(record.get("spec"), spec)
    if not problem and record.get("complete"):
        if _listing(dataset, spec.max_images) == record.get("listing"):
            try:
                return CropStore(folder)
            except TrainingDataError as error:
                problem = str(error)
        else:
            problem = "the dataset has changed since"
    if problem and not rebuild:
        raise TrainingDataError(
            f"{folder}: the store cannot be used: {problem}; choose another folder, or replace it with rebuild=True"
        )
    if problem:
        _clear(folder)
    return None


def _difference(stored: Any, spec: StoreSpec) -> str:
    """In what a recorded specification differs."""
    wanted = spec.model_dump(mode="json")
    if not isinstance(stored, dict):
        return "its record names no specification"
    names = [name for name in {**stored, **wanted} if stored.get(name) != wanted.get(name)]
    return ", ".join(f"it was made with {name}={stored.get(name)}, not {wanted.get(name)}" for name in names)


def _clear(folder: Path) -> None:
    (folder / RECORD).unlink(missing_ok=True)
    for name in (SHARDS, INDEX, PARTS):
        shutil.rmtree(folder / name, ignore_errors=True)


def _write(folder: Path, dataset: Dataset, spec: StoreSpec, shard_bytes: int, workers: int | None) -> CropStore:
    name = f"{type(dataset).__name__}:{dataset.root.resolve().name}"
    record: dict[str, Any] = {"spec": spec.model_dump(mode="json"), "dataset": name}
    write_atomic(folder / RECORD, json.dumps({**record, "complete": False}, indent=1) + "\n")
    writer = ShardWriter(folder, spec, shard_bytes)
    threads = workers or allowed_threads()
    cutter = Cutter(spec)
    with closing(writer), in_turn(folder / HASHES) as hashes, ThreadPoolExecutor(threads) as pool:
        samples, total = _selected(dataset, spec.max_images)
        listed = _rest(samples, dataset, writer)
        results = _ordered(pool, lambda item: cutter.cut(item[0], item[3]), listed, _AHEAD * threads)
        for (sample, origin, listing, _), outcome in track(results, "cutting faces", total=total):
            remember(hashes, outcome.file, outcome.facts)
            writer.add(sample, origin, listing, outcome)
        writer.finish(record)
    store = CropStore(folder)
    log.info("%s: %d crops of %s, %d left out", folder, len(store), name, store.rejected)
    return store


Reader = Callable[[], "Path | bytes"]


def _rest(
    samples: Iterable[tuple[Sample, Reader]], dataset: Dataset, writer: ShardWriter
) -> Iterator[tuple[Sample, str, str, Reader]]:
    """Samples that are not stored yet, with their origin and the digest of the listing up to each.

    Raises:
        TrainingDataError: The dataset lists other samples than when the store was begun.
    """
    done = writer.resumed
    listing = ""
    number = 0
    for number, (sample, read) in enumerate(samples, 1):
        origin = _origin(sample, dataset)
        listing = _next_listing(listing, sample, origin)
        if number > done.samples:
            yield sample, origin, listing, read
        elif number == done.samples and listing != done.listing:
            break
    if listing != done.listing and number <= done.samples:
        raise TrainingDataError(
            f"{writer.folder}: the dataset has changed since this store was begun; choose another folder, or begin "
            "anew with rebuild=True"
        )


def _listing(dataset: Dataset, max_images: int | None) -> str:
    """Digest of all samples as the dataset lists them, without reading any."""
    listing = ""
    samples: Iterable[Sample] = dataset
    if max_images is not None:
        samples = spread(dataset, sum(1 for _ in dataset), max_images)
    for sample in samples:
        listing = _next_listing(listing, sample, _origin(sample, dataset))
    return listing


def _next_listing(listing: str, sample: Sample, origin: str) -> str:
    try:
        size = sample.span[1] if sample.span else sample.path.stat().st_size
    except OSError:
        size = -1
    facts = [listing, origin, int(sample.is_fake), sample.source, sample.group, sample.split, sample.identities, size]
    return hashlib.sha256(json.dumps([*facts, sample.frame]).encode()).hexdigest()


def _origin(sample: Sample, dataset: Dataset) -> str:
    """What to call a sample wherever the dataset lies: relative to its root, where it is inside."""
    path = sample.path
    for root in (dataset.root, dataset.root.parent):  # the root may be the archive itself
        if path != root and path.is_relative_to(root):
            path = path.relative_to(root)
            break
    return f"{path.as_posix()}!{sample.member}" if sample.member else path.as_posix()


def _selected(dataset: Dataset, max_images: int | None) -> tuple[Iterator[tuple[Sample, Reader]], int | None]:
    """The samples to store with what reads each, and their number where it is known."""
    items: Iterator[tuple[Sample, Reader]]
    if type(dataset).stream is Dataset.stream:
        # Plain files: each thread reads its own.
        items = ((sample, lambda sample=sample: dataset.read(sample)) for sample in dataset)  # type: ignore[misc]
    else:
        items = ((sample, lambda data=data: data) for sample, data in dataset.stream())  # type: ignore[misc]
    if max_images is None:
        return items, None
    total = sum(1 for _ in dataset)
    return spread(items, total, max_images), min(total, max_images)


def spread(items: Iterable[T], total: int, most: int) -> Iterator[T]:
    """At most ``most`` of ``total`` items, evenly spread: layouts list one class or source after the other."""
    for number, item in enumerate(items):
        if total <= most or (number + 1) * most // total > number * most // total:
            yield item


def _ordered(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[tuple[T, R]]:
    """Results in the order of items, of which a bounded number is in work."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= ahead:
                item, future = waiting.popleft()
                yield item, future.result()
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


class Cutter:
    """Turns one sample into encoded crops as a :class:`StoreSpec` says; safe to share between threads."""

    def __init__(self, spec: StoreSpec) -> None:
        self.spec = spec
        self._finder = FaceFinder()
        self._square = FaceCrop.model_construct(margin=spec.margin)  # which may exceed any detector's margin

    def cut(self, sample: Sample, read: Reader) -> Outcome:
        """Crops of a picture, or of the frames of a video, and what was left out."""
        moving, facts, file = False, cast("Facts | None", None), key_of(sample)
        try:
            data = read()
            moving = is_video(data)
            if not moving:
                data, facts = at_once(data, sample.name)
            outcome = self._video(data, sample.name) if moving else self._picture(data, sample)
        except InputError as error:
            outcome = Outcome(rejected=[(-1, error.reason)], moving=moving)
        except (OSError, cv2.error) as error:
            outcome = Outcome(rejected=[(-1, f"cannot be read: {one_line(error)}")], moving=moving)
        return replace(outcome, file=file, facts=facts)

    def _picture(self, data: Path | bytes, sample: Sample) -> Outcome:
        if self.spec.crop == "whole":
            pixels = decode(data, min_side=2 * self.spec.side, name=sample.name).pixels
            return Outcome([self._whole(pixels, sample.frame)])
        picture = decode(data, min_side=_FIRST_LOOK_SIDE, name=sample.name)
        box = self._largest(picture.pixels)
        if box is None:
            return Outcome(rejected=[(-1, NO_FACE)])
        square = self._side(box)
        if picture.scale < 1 and square < self.spec.side:
            longer = max(picture.pixels.shape[:2])
            full = decode(data, min_side=-(-longer * self.spec.side // square), name=sample.name)
            box = scale_box(box, *(full.pixels.shape[axis] / picture.pixels.shape[axis] for axis in (1, 0)))
            picture = full
        return Outcome([self._face(picture.pixels, box, sample.frame)])

    def _video(self, data: Path | bytes, name: str) -> Outcome:
        crops: list[Crop] = []
        rejected: list[tuple[int, str]] = []
        for frame in self._frames(data, name):
            if self.spec.crop == "whole":
                crops.append(self._whole(frame.pixels, frame.index))
            elif (box := self._largest(frame.pixels)) is None:
                rejected.append((frame.index, NO_FACE))
            else:
                crops.append(self._face(frame.pixels, box, frame.index))
        return Outcome(crops, rejected, moving=True)

    def _frames(self, data: Path | bytes, name: str) -> Iterator[Frame]:
        if (clip := self.spec.clip) is None:
            return sample_frames(data, self.spec.frames, name=name)
        return chain.from_iterable(sample_clips(data, clip, -(-self.spec.frames // clip.length), name=name))

    def _largest(self, pixels: NDArray[np.uint8]) -> Box | None:
        faces = self._finder.find(pixels)
        return max((face.box for face in faces), key=lambda box: box.width * box.height, default=None)

    def _face(self, pixels: NDArray[np.uint8], box: Box, frame: int) -> Crop:
        """The part of the square around a face that lies inside of ``uint8 [h, w, 3]``.

        Beyond the picture's edge nothing is stored: the detector's own preprocessing fills it in its own way.
        """
        height, width = pixels.shape[:2]
        side = self._side(box)
        left, top = round(box.x + box.width / 2 - side / 2), round(box.y + box.height / 2 - side / 2)
        rows = slice(max(0, top), max(0, min(height, top + side)))
        columns = slice(max(0, left), max(0, min(width, left + side)))
        part = pixels[rows, columns]
        box = Box(box.x - columns.start, box.y - rows.start, box.width, box.height)
        return self._reduced(np.ascontiguousarray(part), min(1.0, self.spec.side / side), box, frame)

    def _whole(self, pixels: NDArray[np.uint8], frame: int) -> Crop:
        return self._reduced(pixels, min(1.0, 2 * self.spec.side / max(pixels.shape[:2])), None, frame)

    def _side(self, box: Box) -> int:
        return crop_side(box, self._square)

    def _reduced(self, pixels: NDArray[np.uint8], scale: float, box: Box | None, frame: int) -> Crop:
        if scale < 1:
            height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
            if box is not None:
                box = scale_box(box, width / pixels.shape[1], height / pixels.shape[0])
            pixels = resize(pixels, Resize(height=height, width=width, interpolation="bicubic"))
        corners = None if box is None else (box.x, box.y, box.width, box.height)
        return Crop(encode(pixels, self.spec.quality), cast("tuple[int, int]", pixels.shape[:2]), corners, frame)


def encode(pixels: NDArray[np.uint8], quality: int | None) -> bytes:
    """``uint8 [h, w, 3]`` RGB as a JPEG file with full colour resolution, or without a quality as a PNG file."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    if quality is not None:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(".png" if quality is None else ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert done, "OpenCV encodes every 8-bit picture"
    return bytes(data)
