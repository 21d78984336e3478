"""The square crops that pairs are made from, read from a store of crops when they are needed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import crop_face, prepare_crop
from deepfake_core.training.data.pictures import resample
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize

SIDE = 320
"""Side of a square crop in pixels; a multiple of 32, so that the autoencoders take a whole crop."""

MARGIN = 1.7
"""Crop margin of the square crops (side over the longer side of the face box); it leaves room for crop jitter."""

_BLOCK = 1 << 16
# Largest distance of a stored image from the square around its box, in pixels: it was rounded when it was cut.
_ROUNDING = 2


class Faces:
    """Square crops of the faces of a store, with their landmarks. It can be sent to other processes.

    A crop has the margin :data:`MARGIN` around the stored box. What lies beyond the stored image is reflected, and
    smaller faces are enlarged.

    Args:
        store: Store of face crops with landmarks.
        side: Side of a crop in pixels.

    Attributes:
        fake: Ground truth, ``int8 [N]``: 1 for fake, 0 for real.
        sources: Codes in ``source_names``, ``int32 [N]``.
        families: Codes of the families in the store, ``int32 [N]``.
        groups: Codes of the groups in the store, ``int32 [N]``.
        source_names: Names of the sources.
        points: Landmarks in [0, 1] of the crop; ``points[rows]`` is ``float32 [n, P, 2]``: x and y.

    Raises:
        TrainingDataError: The store has no landmarks, or holds whole pictures.
    """

    def __init__(self, store: CropStore, side: int = SIDE) -> None:
        if store.spec.crop != "face":
            raise TrainingDataError(
                f"{store.folder}: holds whole pictures, but pairs are made from faces; prepare the dataset again with "
                "--crop face"
            )
        if getattr(store, "points", None) is None:
            raise TrainingDataError(
                f"{store.folder}: has no face landmarks, from which pairs are made; find them with: "
                f"dfbench data prepare crops:{store.folder} --landmarks"
            )
        self.store, self.side = store, side
        self.fake, self.sources, self.source_names = store.fake, store.sources, store.source_names
        self.families, self.groups = store.families, store.groups
        self.points = Points(self)
        self._spec = PreprocessSpec(
            crop=FaceCrop(margin=MARGIN),
            resize=Resize(height=side, width=side, interpolation="bicubic"),
            normalize=Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        )

    def __len__(self) -> int:
        return len(self.fake)

    def __reduce__(self) -> tuple[type[Faces], tuple[CropStore, int]]:
        return Faces, (self.store, self.side)

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Whether a row has landmarks, and none of them is far outside of its crop: ``bool [N]``."""
        usable = np.zeros(len(self), bool)
        for start in range(0, len(self), _BLOCK):
            # A comparison with NaN is false.
            usable[start : start + _BLOCK] = (np.abs(self.points[start : start + _BLOCK] - 0.5) <= 1).all((1, 2))
        return usable

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """Return the crop of a row, ``uint8 [side, side, 3]`` RGB.

        Raises:
            InputError: The stored image is damaged.
        """
        image = self.store.read(row)
        left, top, side = self.squares(np.array([row]))[0].tolist()
        height, width = image.shape[:2]
        if (left, top) != (0, 0) or not side == height == width:
            box = Box(*self.store.boxes[row].tolist())
            if side > 2 * max(height, width, self.side):
                return prepare_crop(image, box, self._spec)
            image = crop_face(image, box, self._spec.crop)  # type: ignore[arg-type]
        return resample(image, self._spec.resize)

    def squares(self, rows: NDArray[np.intp] | slice) -> NDArray[np.int64]:
        """Return left, top and side of the crops of n rows in pixels of the stored images, ``int64 [n, 3]``."""
        boxes, sizes = self.store.boxes[rows].astype(np.float64), self.store.sizes[rows].astype(np.int64)
        side = np.maximum(1, np.rint(MARGIN * boxes[:, 2:].max(1, initial=0)))
        corner = np.rint(boxes[:, :2] + boxes[:, 2:] / 2 - side[:, None] / 2)
        found = np.nan_to_num(np.column_stack([corner, side]), nan=1).astype(np.int64)
        # The stored image is the square already, but for the rounding of its box.
        whole = (np.abs(found[:, :2]) < _ROUNDING).all(1) & (np.abs(found[:, 2:] - sizes) <= _ROUNDING).all(1)
        whole &= sizes[:, 0] == sizes[:, 1]
        found[whole] = np.column_stack([np.zeros((whole.sum(), 2), np.int64), sizes[whole, :1]])
        return found


class Points:
    """Landmarks of faces in [0, 1] of their crops, ``[N, P, 2]``, computed when they are read.

    Args:
        faces: Faces whose landmarks these are.
    """

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self.shape: tuple[int, ...] = faces.store.points.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.float32]:
        """Return ``float32 [n, P, 2]``, or ``float32 [P, 2]`` for one row; NaN where no landmarks were found."""
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        faces = self._faces
        squares = faces.squares(rows).astype(np.float32)[:, None]
        sizes = faces.store.sizes[rows, ::-1].astype(np.float32)[:, None]
        points: NDArray[np.float32] = faces.store.points[rows].astype(np.float32)
        points *= sizes
        points -= squares[..., :2]
        points /= squares[..., 2:]
        return points


import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from deepfake_core.data.crops.cutter import NO_FACE
from deepfake_core.data.crops.face_mesh import FaceMesh
from deepfake_core.data.fact_cache import FactCache, Key, key_of
from deepfake_core.data.inspect import Facts, at_once, digest, remember
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.data.splits import families
from deepfake_core.datasets.files import file_state
from deepfake_core.errors import InputError
from deepfake_core.evaluation.samples import Reader, Subset, readers
from deepfake_core.inputs.boxes import Face
from deepfake_core.inputs.decode import decode, one_line
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.data.training_data import IMPLAUSIBLE
from deepfake_core.training.pairs.face_table import STORE_MARGIN, STORE_SIDE, STORE_SPEC, FaceTable
from deepfake_registry.files import atomic_path

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset, Sample

_Found = tuple[tuple[float, float, float, float], NDArray[np.float32], str]


def find_faces(samples: Iterable[Sample], data: Dataset | Path, hashes: FactCache | None = None) -> FaceTable:
    """Find the largest face of each sample, and its landmarks.

    Args:
        samples: Samples of ``data``.
        data: Dataset that reads the samples, or the folder that holds their files.
        hashes: Cache that receives the hash of every file that is read.

    Raises:
        TrainingDataError: No sample has a usable face, or the dataset has lost a sample.
    """
    samples = list(samples)
    root = data if isinstance(data, Path) else folder_of(data)
    rows: list[tuple[Sample, _Found | str]] = []
    items: Iterator[tuple[Sample, Reader]]
    if isinstance(data, Path):
        items = ((sample, partial(Path, sample.path)) for sample in samples)
    else:
        items = readers(Subset(data, samples))
    with closing(ordered_map(_find_one, items, workers=allowed_threads())) as found:
        for sample, row, file, facts in track(found, "finding faces", total=len(samples)):
            rows.append((sample, row))
            if hashes is not None:
                remember(hashes, file, facts)
    if len(rows) < len(samples):
        raise TrainingDataError(
            f"{root}: has lost {len(samples) - len(rows)} samples since it was listed; restore them"
        )
    kept = [(sample, row) for sample, row in rows if not isinstance(row, str)]
    if not kept:
        raise TrainingDataError(f"{root}: none of {len(samples)} pictures has a usable face")
    groups = [sample.group for sample, _ in kept]
    return FaceTable(
        paths=np.array([relative_name(sample, root) for sample, _ in kept]),
        fake=np.array([sample.is_fake for sample, _ in kept], np.int8),
        sources=np.array([sample.source for sample, _ in kept]),
        groups=np.array(groups),
        families=np.array(families(groups, [sample.identities for sample, _ in kept])),
        boxes=np.array([row[0] for _, row in kept], np.float32),
        points=np.stack([row[1] for _, row in kept]),
        digests=np.array([row[2] for _, row in kept]),
        rejected=tuple((sample.name, row) for sample, row in rows if isinstance(row, str)),
    )


def load_crops(
    table: FaceTable, data: Dataset | Path, cache_dir: Path, spec: PreprocessSpec = STORE_SPEC
) -> NDArray[np.uint8]:
    """Return the crops of all faces, a memory map ``uint8 [N, H, W, 3]`` RGB, which the first call makes.

    The name of its file contains a hash of the table, with the content of the pictures, and of the preprocessing: a
    change of any of them makes a new file. Of a table that does not tell the content, the pictures count as changed if
    their :meth:`~deepfake_core.datasets.Dataset.state` has changed.

    Args:
        table: Faces of ``data``.
        data: Dataset that reads the pictures of the table, or the folder that holds their files.
        cache_dir: Folder in which the crops are kept.
        spec: Preprocessing whose host half makes the crops; by default that of the stored crops for pairs.

    Raises:
        TrainingDataError: The dataset has lost a file of the table, or the file has changed since its face was found.
    """
    key = hashlib.sha256(f"{spec.crop!r}{spec.resize!r}".encode())
    for part in (table.paths, table.boxes, table.digests):
        key.update(part.tobytes())
    if len(table) and not len(table.digests):
        key.update(repr(_states(table, data)).encode())
    path = cache_dir / f"crops-{key.hexdigest()[:16]}.npy"
    shape = (len(table), *spec.size, 3)
    if not path.exists():
        with atomic_path(path) as temporary:
            out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)

            def cut(item: tuple[int, Reader]) -> tuple[int, NDArray[np.uint8]]:
                row, read = item
                picture, facts = at_once(read(), table.paths[row])
                if len(table.digests) and (facts.sha256 if facts else digest(picture)) != table.digests[row]:
                    raise TrainingDataError(
                        f"{table.paths[row]}: has changed since its face was found; run the command again"
                    )
                return row, prepare_crop(decode(picture).pixels, Box(*table.boxes[row].tolist()), spec)

            with closing(ordered_map(cut, _pictures(table, data), workers=allowed_threads())) as crops:
                for row, crop in track(crops, "cutting faces", total=len(table)):
                    out[row] = crop
            out.flush()
            del out
    stored: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return stored


def _states(table: FaceTable, data: Dataset | Path) -> Sequence[object]:
    """Return what changes if a picture of the table is changed or replaced, in the order of names."""
    if isinstance(data, Path):
        return [file_state(data / name) for name in sorted(table.paths.tolist())]
    root, wanted = folder_of(data), set(table.paths.tolist())
    return sorted(
        (name, repr(data.state(sample))) for sample in data if (name := relative_name(sample, root)) in wanted
    )


def _pictures(table: FaceTable, data: Dataset | Path) -> Iterator[tuple[int, Reader]]:
    """Yield every row of the table with the function that reads its picture, in the order that is cheapest to read."""
    names: list[str] = table.paths.tolist()
    if isinstance(data, Path):
        yield from ((row, partial(data.joinpath, name)) for row, name in enumerate(names))
        return
    root = folder_of(data)
    wanted: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        wanted.setdefault(name, []).append(row)
    samples = {name: sample for sample in data if (name := relative_name(sample, root)) in wanted}
    if len(samples) == len(wanted):
        for sample, read in readers(Subset(data, samples.values())):
            yield from ((row, read) for row in wanted.pop(relative_name(sample, root), ()))
    if wanted:
        lost = min(wanted.keys() - samples.keys(), default=min(wanted))
        raise TrainingDataError(f"{data.root}: {lost} is gone; restore it, or find the faces again in another cache")


def _find_one(item: tuple[Sample, Reader]) -> tuple[Sample, _Found | str, Key | None, Facts | None]:
    """Find the largest face of a sample.

    Returns:
        The sample; the box and the landmarks in the stored crop, or the reason why there are none; the key of the file
        in a cache of facts, and the facts that reading the file gave.
    """
    sample, read = item
    file, facts = key_of(sample), None
    finder, mesh = _tools()
    try:
        data, facts = at_once(read(), sample.name)
        pixels = decode(data, name=sample.name).pixels
        faces: Sequence[Face] = finder.find(pixels)
    except InputError as error:
        return sample, error.reason, file, facts
    except (OSError, cv2.error) as error:
        return sample, f"cannot be read: {one_line(error)}", file, facts
    place = _landmarks(mesh, pixels, faces)
    found = place if isinstance(place, str) else (*place, facts.sha256 if facts else digest(data))
    return sample, found, file, facts


def _landmarks(
    mesh: FaceMesh, pixels: NDArray[np.uint8], faces: Sequence[Face]
) -> tuple[tuple[float, float, float, float], NDArray[np.float32]] | str:
    """Return the largest face's box and its landmarks in the stored crop, or the reason why there are none."""
    if not faces:
        return NO_FACE
    face = max(faces, key=lambda face: face.box.width * face.box.height)
    box = face.box
    points = mesh.find(pixels, face)
    side = STORE_MARGIN * max(box.width, box.height)
    corner = np.array([box.x + (box.width - side) / 2, box.y + (box.height - side) / 2], np.float32)
    points = (points - corner) * np.float32(STORE_SIDE / side)
    if not np.all(np.isfinite(points)) or np.abs(points - STORE_SIDE / 2).max() > STORE_SIDE:
        return IMPLAUSIBLE
    return (box.x, box.y, box.width, box.height), points


def _tools() -> tuple[FaceFinder, FaceMesh]:
    """Return the face finder and the face mesh of this thread."""
    if not hasattr(_local, "tools"):
        _local.tools = FaceFinder(), FaceMesh()
    tools: tuple[FaceFinder, FaceMesh] = _local.tools
    return tools


_local = threading.local()
