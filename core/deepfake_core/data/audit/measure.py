"""Measure the faces of a dataset as training would cut them, and the files that they come from."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.audit.features import NAMES, features_of
from deepfake_core.data.audit.files import CODING, FRAMING, file_features, framing_features
from deepfake_core.data.audit.random_features import DIMENSIONS, random_features
from deepfake_core.data.crops.prepare import spread
from deepfake_core.data.fact_cache import folder_behind
from deepfake_core.data.splits import families
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.margin import check_margin
from deepfake_core.datasets.crop_store.store import HASHES, CropStore
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.evaluation.samples import Reader, input_of, readers
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.manifest import FaceCrop, PreprocessSpec

ALL_NAMES: tuple[str, ...] = (*NAMES, *FRAMING, *CODING)
"""Names of all numbers that are measured of a face, in their order."""

FRAMES = 4
"""Frames that are measured of each video."""

_Row = NDArray[np.float32]


@dataclass
class Measured:
    """Numbers of the faces of a dataset.

    Attributes:
        table: Numbers, ``float32 [N, F]``, in the order of :data:`ALL_NAMES`.
        baseline: Frozen random features, ``float32 [N, D]``.
        fake: Labels ``[N]`` in {0, 1}; 1 is fake.
        group: Name of the group, or of groups that share persons, of each face ``[N]``.
        source: Name of the source of each face ``[N]``.
        left_out: Numbers that could not be measured → the reason.
        unreadable: Number of files that could not be read.
        faceless: Number of files without a face.
    """

    table: NDArray[np.float32]
    baseline: NDArray[np.float32]
    fake: NDArray[np.int64]
    group: NDArray[np.str_]
    source: NDArray[np.str_]
    left_out: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    faceless: int = 0


def measured(
    dataset: Dataset,
    spec: PreprocessSpec,
    *,
    max_images: int,
    files: Path | None = None,
    threads: int | None = None,
) -> Measured:
    """Cut the largest face of every picture and of frames of every video, and measure it.

    Of a store of crops the stored faces are measured, and the original files where they are still there.

    Args:
        dataset: Dataset to measure.
        spec: Preprocessing of the detector that would be trained.
        max_images: Most files, or rows of a store, that are measured, evenly spread.
        files: Folder of the files that a store was made of; by default where they were when it was made.
        threads: Number of threads; by default as many as the process may use.

    Raises:
        TrainingDataError: No file shows a face; ``files`` does not hold the files of the store, or the dataset is none;
            or the detector's crops cannot be cut from the store.
    """
    workers = threads or allowed_threads()
    if isinstance(dataset, StoredCrops):
        return _of_store(dataset.store, spec, max_images, files, workers)
    if files is not None:
        raise TrainingDataError(f"{dataset.root}: no store of crops, but a dataset with files of its own; drop files")
    return _of_files(dataset, spec, max_images, workers)


def _of_files(dataset: Dataset, spec: PreprocessSpec, most: int, workers: int) -> Measured:
    preparer = Preparer(spec.model_copy(update={"clip": None}), frames=FRAMES, max_faces=1)
    total = sum(1 for _ in dataset)

    def work(item: tuple[Sample, Reader]) -> tuple[Sample, list[tuple[_Row, _Row]], bool]:
        sample, read = item
        try:
            data = read()
            prepared = preparer.prepare(input_of(sample, data))
            coding = file_features(data, sample.name) if not prepared.error else None
        except (InputError, OSError):
            return sample, [], True
        if prepared.error or coding is None:
            return sample, [], True
        crop = spec.crop if isinstance(spec.crop, FaceCrop) else None
        size = prepared.height or 0, prepared.width or 0
        boxes = [face.box if crop else None for face in prepared.faces]
        rows = [np.concatenate([framing_features(box, size, crop), coding]) for box in boxes]
        return sample, [_measured_crop(pixels, row) for pixels, row in zip(prepared.crops, rows, strict=True)], False

    samples, found = [], []
    unreadable = faceless = 0
    items = spread(readers(dataset), total, most)
    with closing(ordered_map(work, items, workers=workers)) as results:
        for sample, faces, is_bad in track(results, "measuring faces", total=min(total, most), unit="files"):
            unreadable += is_bad
            faceless += not is_bad and not faces
            samples += [sample] * len(faces)
            found += faces
    if not found:
        raise TrainingDataError(
            f"{dataset.root}: no face to audit; {unreadable} of {min(total, most)} files cannot be read and {faceless} "
            "show no face; see dfbench data check"
        )
    group = families([sample.group for sample in samples], [sample.identities for sample in samples])
    result = _table(found, [sample.is_fake for sample in samples], group, [sample.source for sample in samples])
    result.unreadable, result.faceless = unreadable, faceless
    return result


def _of_store(store: CropStore, spec: PreprocessSpec, most: int, files: Path | None, workers: int) -> Measured:
    check_margin(store, spec)
    count = min(most, len(store))
    rows = np.arange(count) * len(store) // max(1, count)
    coding, reason = _originals(store, rows, files, workers)
    crop = spec.crop if isinstance(spec.crop, FaceCrop) else None

    def work(place: int) -> tuple[_Row, _Row] | None:
        row = int(rows[place])
        try:
            pixels = store.read(row)
        except InputError:
            return None
        box = store.box(row)
        framing = framing_features(box, (pixels.shape[0], pixels.shape[1]), crop, whole=False)
        return _measured_crop(prepare_crop(pixels, box, spec), np.concatenate([framing, coding[place]]))

    with closing(ordered_map(work, range(count), workers=workers)) as results:
        found = list(track(results, "measuring faces", total=count, unit="faces"))
    kept = np.array([place for place, one in enumerate(found) if one is not None], np.intp)
    if not len(kept):
        raise TrainingDataError(f"{store.folder}: no face to audit; all {count} rows are damaged; make the store anew")
    used = rows[kept]
    names = np.array([store.source_names[code] for code in range(len(store.source_names))])
    result = _table(
        [one for one in found if one is not None], store.fake[used], store.families[used], names[store.sources[used]]
    )
    result.unreadable = count - len(kept)
    if crop is not None:
        result.left_out |= dict.fromkeys(FRAMING[1:4], "a store does not keep where in the picture the face is")
    if reason:
        result.left_out |= dict.fromkeys(CODING, reason)
    return result


def _measured_crop(pixels: NDArray[np.uint8], others: _Row) -> tuple[_Row, _Row]:
    return np.concatenate([features_of(pixels, max(pixels.shape[:2])), others]), random_features(pixels)


def _table(found: list[tuple[_Row, _Row]], fake: Any, group: Any, source: Any) -> Measured:
    table = np.stack([row for row, _ in found])
    baseline = np.stack([features for _, features in found])
    assert table.shape[1] == len(ALL_NAMES)
    assert baseline.shape[1] == DIMENSIONS
    return Measured(table, baseline, np.asarray(fake, np.int64), np.asarray(group), np.asarray(source, np.str_))


def _originals(
    store: CropStore, rows: NDArray[np.intp], files: Path | None, workers: int
) -> tuple[NDArray[np.float32], str]:
    """Return the numbers of the original files, ``float32 [len(rows), 8]``, and the reason where there are none.

    Raises:
        TrainingDataError: ``files`` was named and does not hold them.
    """
    table = np.full((len(rows), len(CODING)), np.nan, np.float32)
    codes, places = np.unique(store.origins[rows], return_inverse=True)
    names = [store.origin_names[code] for code in codes.tolist()]
    folder = files or folder_behind(store.folder / HASHES, names[0])
    gone = "the files that the store was made of are not there; name their folder (files, --files)"
    if folder is None:
        return table, gone

    def work(name: str) -> _Row | None:
        try:
            return file_features(folder / name, name)
        except (InputError, OSError):
            return None

    with closing(ordered_map(work, names, workers=workers, ahead=64)) as results:
        found = list(track(results, "reading files", total=len(names), unit="files"))
    if not any(row is not None for row in found):
        if files is not None:
            raise TrainingDataError(
                f"{files}: holds none of the files of the store, such as {names[0]}; name another folder"
            )
        return table, gone
    blank = np.full(len(CODING), np.nan, np.float32)
    return np.stack([blank if row is None else row for row in found])[places], ""
