"""Make a store of crops from any dataset: decode, find the largest face, cut and encode it."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from deepfake_core.data.crops.cutter import Cutter
from deepfake_core.data.crops.index import PARTS
from deepfake_core.data.crops.landmarks import check_landmarks, find_landmarks
from deepfake_core.data.crops.writer import SampleCrops, ShardWriter, chained
from deepfake_core.data.fact_cache import locked_cache
from deepfake_core.data.inspect import remember
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.members import REMEDY
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
from deepfake_core.datasets.labels import labels_read
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.samples import Reader, in_any_order, readers
from deepfake_core.locks import holding
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import is_told, track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import Clip

log = logging.getLogger("deepfake.training")

T = TypeVar("T")


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
    refresh: bool = False,
    landmarks: bool = False,
) -> CropStore:
    """Make the store of a dataset's crops, continue an interrupted one, or open the complete one in the folder.

    Samples that cannot be read or show no face are left out, and listed with the reason in ``rejected.csv``. Memory
    does not grow with the number of samples. A dataset that is a store already is not cut again: its own store is
    returned, to which nothing but landmarks is added.

    Args:
        dataset: Dataset of images and videos.
        out: Folder of the store. One process writes it at a time, and others wait.
        crop: ``"face"`` stores the square around the largest face, as far as the image reaches. ``"whole"`` stores
            the whole image without a box, reduced to a longer side of at most ``2 · side`` pixels.
        side: Longest side of a stored square in pixels. Larger squares are reduced; none is enlarged.
        margin: Crop margin: side of the square divided by the longer side of the face's box. It must exceed the
            margin of every detector that trains on the store.
        quality: JPEG quality, with full colour resolution; ``None`` stores lossless PNG files.
        frames: Number of frames that are taken from each video, evenly spread.
        clip: Clips to take from each video instead of single frames, as many as hold ``frames`` frames.
        max_images: Most images or videos that are taken, evenly spread over the dataset.
        shard_mb: Size of one shard in megabytes; an interrupted run repeats less than one shard.
        workers: Number of threads; by default as many as the process may use.
        rebuild: Whether to replace a store that was made with other settings or from other data.
        refresh: Whether to replace a store whose samples are the same, but whose files have other content since. A file
            counts as unchanged while :meth:`Dataset.state` is; otherwise its bytes are compared, for a video its size
            and time.
        landmarks: Whether the faces get landmarks, as :func:`~deepfake_core.data.crops.landmarks.find_landmarks` finds
            them in a store that has none.

    Raises:
        MissingExtra: Landmarks are wanted, and OpenVINO or the package with the face mesh is not installed.
        TrainingDataError: The folder holds a store that was made otherwise, or other files; no sample is usable; or a
            setting is out of its range.
    """
    if isinstance(dataset, StoredCrops):
        return find_landmarks(dataset.store, workers=workers) if landmarks else dataset.store
    if landmarks:
        check_landmarks(crop)
    try:
        spec = StoreSpec(
            crop=crop, side=side, margin=margin, quality=quality, frames=frames, clip=clip, max_images=max_images
        )
    except ValidationError as error:
        problems = (f"{problem['loc'][0]}={problem['input']}: {problem['msg']}" for problem in error.errors())
        raise TrainingDataError(f"a store cannot be made with {'; '.join(problems)}") from error
    folder = Path(out)
    with holding(folder / ".lock", "preparing a store of face crops"):
        store = _existing(folder, dataset, spec, rebuild=rebuild, refresh=refresh)
        if store is None:
            try:
                store = _write(folder, dataset, spec, round(shard_mb * 1e6), workers)
            except _FilesChanged:
                if not refresh and not rebuild:
                    raise
                _clear(folder)
                store = _write(folder, dataset, spec, round(shard_mb * 1e6), workers)
    return find_landmarks(store, workers=workers) if landmarks else store


class _FilesChanged(TrainingDataError):
    """The samples are the same, but their files have other content than when the store was begun."""


def _existing(folder: Path, dataset: Dataset, spec: StoreSpec, *, rebuild: bool, refresh: bool) -> CropStore | None:
    """Return the complete store in the folder, or ``None`` when it has to be written or continued."""
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
        listing, files = _listing(dataset, spec.max_images)
        if "sources" not in record:
            problem = "an earlier version made it, which did not record what the files held"
            rebuild = rebuild or refresh
        elif listing != record.get("listing"):
            problem = "the dataset has changed since"
        elif not _same_files(folder, dataset, spec, record, files):
            problem = "files of the dataset have changed since"
            rebuild = rebuild or refresh
        else:
            try:
                store = CropStore(folder)
                shutil.rmtree(folder / PARTS, ignore_errors=True)  # a kill right after the record leaves them
                return store
            except TrainingDataError as error:
                problem = str(error)
    if problem and not rebuild:
        raise TrainingDataError(f"{folder}: the store cannot be used: {problem}; choose another folder, or {REMEDY}")
    if problem:
        _clear(folder)
    return None


def _same_files(folder: Path, dataset: Dataset, spec: StoreSpec, record: dict[str, Any], files: str) -> bool:
    """Return whether the files of a dataset have the content that a complete store was made from.

    Where only their times differ, as in a copy of the dataset, the new ones are recorded.
    """
    if record.get("files") == files:
        return True
    if _sources(dataset, spec.max_images) != record.get("sources"):
        return False
    write_atomic(folder / RECORD, json.dumps({**record, "files": files}, indent=1) + "\n")
    return True


def _sources(dataset: Dataset, max_images: int | None, most: int | None = None) -> str:
    """Read the samples, ``most`` of them at most, and return the digest over their bytes."""
    samples, total = _selected(dataset, max_images)
    digest = ""
    with closing(
        ordered_map(lambda item: Cutter.source(*item), islice(samples, most), workers=allowed_threads())
    ) as sources:
        for source in track(sources, "comparing files", total=total if most is None else most, unit="files"):
            digest = chained(digest, source)
    return digest


def _difference(stored: Any, spec: StoreSpec) -> str:
    """Return the differences between a recorded specification and the wanted one, as text."""
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
    cutter = Cutter(spec)

    def work(item: _Item) -> tuple[Sample, str, str, str, SampleCrops]:
        sample, origin, listing, files, read = item
        return sample, origin, listing, files, cutter.cut(sample, read)

    with closing(writer), locked_cache(folder / HASHES) as hashes:
        samples, total = _selected(dataset, spec.max_images)
        labels: Counter[tuple[str, bool]] = Counter()
        listed = _rest(samples, dataset, spec, writer, labels)
        with closing(ordered_map(work, listed, workers=workers or allowed_threads())) as results:
            for sample, origin, listing, files, crops in track(results, "cutting faces", total=total, unit="files"):
                remember(hashes, crops.file, crops.facts)
                writer.add(sample, origin, listing, files, crops)
        writer.finish({**record, "labels": labels_read(labels)})
    store = CropStore(folder)
    log.info("%s: %d crops of %s, %d left out", folder, len(store), name, store.rejected)
    return store


_Item = tuple[Sample, str, str, str, Reader]


def _rest(
    samples: Iterable[tuple[Sample, Reader]],
    dataset: Dataset,
    spec: StoreSpec,
    writer: ShardWriter,
    labels: Counter[tuple[str, bool]],
) -> Iterator[_Item]:
    """Yield the samples that are not stored yet, with their origin and the digests of listing and files up to each.

    The labels of all samples are counted in ``labels``.

    Raises:
        TrainingDataError: The dataset lists other samples than when the store was begun, or their files have changed.
    """
    done = writer.resumed
    listing = files = ""
    number = 0
    for number, (sample, read) in enumerate(samples, 1):
        origin = _origin(sample, dataset)
        labels[sample.label, sample.is_fake] += 1
        listing = _next_listing(listing, sample, origin)
        files = chained(files, dataset.state(sample))
        if number > done.samples:
            yield sample, origin, listing, files, read
        elif number == done.samples:
            if listing != done.listing:
                break
            if done.sources and files != done.files and _sources(dataset, spec.max_images, number) != done.sources:
                raise _FilesChanged(
                    f"{writer.folder}: files of the dataset have changed since this store was begun; choose another "
                    f"folder, or {REMEDY}"
                )
    if listing != done.listing and number <= done.samples:
        raise TrainingDataError(
            f"{writer.folder}: the dataset has changed since this store was begun; choose another folder, or {REMEDY}"
        )


def _listing(dataset: Dataset, max_images: int | None) -> tuple[str, str]:
    """Return the digest of all samples as the dataset lists them, and that of their files, without reading any."""
    listing = files = ""
    samples: Iterable[Sample] = dataset
    if max_images is not None:
        samples = spread(dataset, sum(1 for _ in dataset), max_images)
    for sample in samples:
        listing = _next_listing(listing, sample, _origin(sample, dataset))
        files = chained(files, dataset.state(sample))
    return listing, files


def _next_listing(listing: str, sample: Sample, origin: str) -> str:
    facts = [listing, origin, int(sample.is_fake), sample.source, sample.group, sample.split, sample.identities]
    return hashlib.sha256(json.dumps([*facts, sample.frame]).encode()).hexdigest()


def _origin(sample: Sample, dataset: Dataset) -> str:
    """Return a name of the sample that does not depend on the dataset's place, if the file is inside of its root."""
    path = sample.path
    for root in (dataset.root, dataset.root.parent):  # the root may be the archive itself
        if path != root and path.is_relative_to(root):
            path = path.relative_to(root)
            break
    return f"{path.as_posix()}!{sample.member}" if sample.member else path.as_posix()


def _selected(dataset: Dataset, max_images: int | None) -> tuple[Iterator[tuple[Sample, Reader]], int | None]:
    """Return the samples to store, each with the function that reads it, and their number where it is known."""
    items = readers(dataset)
    if max_images is None:
        return items, sum(1 for _ in dataset) if is_told() and in_any_order(dataset) else None
    total = sum(1 for _ in dataset)
    return spread(items, total, max_images), min(total, max_images)


def spread(items: Iterable[T], total: int, most: int) -> Iterator[T]:
    """Yield at most ``most`` of ``total`` items, evenly spread, because layouts list one class or source after another.

    Args:
        items: Items, of which there are ``total``.
        total: Number of items.
        most: Largest number of items to yield.
    """
    for number, item in enumerate(items):
        if total <= most or (number + 1) * most // total > number * most // total:
            yield item
