"""The faces of a dataset, found once: aligned store crops with their landmarks, labels and groups."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.crops.cutter import NO_FACE
from deepfake_core.data.fact_cache import FactCache, Key, key_of
from deepfake_core.data.inspect import Facts, at_once, remember
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.data.splits import families, held_out
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.inputs.decode import decode, one_line
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.data.training_data import IMPLAUSIBLE
from deepfake_core.training.pairs.landmarks import FaceMesh
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset, Sample

_Found = tuple[tuple[float, float, float, float], NDArray[np.float32]]

STORE_SIDE = 320
"""Side of a stored face in pixels: a multiple of 32, so that autoencoders take it whole."""

STORE_MARGIN = 1.7
"""Side of the stored square over the longer side of the face box; leaves room for jittered training crops."""

STORE_SPEC = PreprocessSpec(
    crop=FaceCrop(margin=STORE_MARGIN),
    resize=Resize(height=STORE_SIDE, width=STORE_SIDE, interpolation="bicubic"),
    normalize=Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
)


@dataclass(frozen=True)
class FaceTable:
    """One face per usable picture of a dataset.

    Attributes:
        paths: Names of the files, as :func:`~deepfake_core.data.naming.relative_name` gives them.
        fake: ``int8 [N]``, 1 = fake.
        sources: Where each picture came from.
        groups: Video, sequence or identity.
        families: Groups that are connected through shared identities; never shared between splits.
        boxes: ``float32 [N, 4]``: x, y, width, height of the face in the picture, in pixels.
        points: ``float32 [N, P, 2]``: landmarks in pixels of the stored crop.
        rejected: Files that were left out, with the reason.
    """

    paths: NDArray[np.str_]
    fake: NDArray[np.int8]
    sources: NDArray[np.str_]
    groups: NDArray[np.str_]
    families: NDArray[np.str_]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    rejected: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file, atomically."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                paths=self.paths,
                fake=self.fake,
                sources=self.sources,
                groups=self.groups,
                families=self.families,
                boxes=self.boxes,
                points=self.points.astype(np.float16),
                rejected=np.array(json.dumps(self.rejected)),
            )

    @classmethod
    def read(cls, path: Path) -> FaceTable:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                paths=stored["paths"],
                fake=stored["fake"],
                sources=stored["sources"],
                groups=stored["groups"],
                families=stored["families"],
                boxes=stored["boxes"],
                points=stored["points"].astype(np.float32),
                rejected=tuple((path, reason) for path, reason in json.loads(str(stored["rejected"]))),
            )


def find_faces(samples: Iterable[Sample], data: Dataset | Path, hashes: FactCache | None = None) -> FaceTable:
    """Find the largest face of every sample, and its landmarks.

    Args:
        samples: Pictures of ``data``.
        data: The dataset, or the folder that holds the samples' files.
        hashes: Takes the hash of every file that is read.

    Raises:
        TrainingDataError: No sample has a usable face.
    """
    samples = list(samples)
    root = data if isinstance(data, Path) else folder_of(data)
    rows: list[tuple[Sample, _Found | str]] = []
    with closing(ordered_map(lambda sample: _find_one(sample, data), samples, workers=allowed_threads())) as found:
        for sample, (row, file, facts) in track(zip(samples, found, strict=True), "finding faces", total=len(samples)):
            rows.append((sample, row))
            if hashes is not None:
                remember(hashes, file, facts)
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
        rejected=tuple((sample.name, row) for sample, row in rows if isinstance(row, str)),
    )


def load_crops(
    table: FaceTable, data: Dataset | Path, cache_dir: Path, spec: PreprocessSpec = STORE_SPEC
) -> NDArray[np.uint8]:
    """Every face through the host half of a preprocessing, by default the stored crop for making pairs.

    Args:
        table: Faces of ``data``.
        data: The dataset, or the folder that holds the files of the table.
        cache_dir: Where the crops are kept.
        spec: How they are cut.

    Returns:
        A memory map ``uint8 [N, H, W, 3]`` RGB, made on the first call. The file's name carries a hash of the
        table and of the preprocessing, so a change of either makes a new one.

    Raises:
        TrainingDataError: The dataset has lost a file of the table.
    """
    key = hashlib.sha256(f"{spec.crop!r}{spec.resize!r}".encode())
    for part in (table.paths, table.boxes):
        key.update(part.tobytes())
    path = cache_dir / f"crops-{key.hexdigest()[:16]}.npy"
    shape = (len(table), *spec.size, 3)
    if not path.exists():
        with atomic_path(path) as temporary:
            out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            read = _reader(table, data)
            faces = zip(table.paths.tolist(), (Box(*box) for box in table.boxes.tolist()), strict=True)

            def cut(face: tuple[str, Box]) -> NDArray[np.uint8]:
                name, box = face
                return prepare_crop(decode(read(name)).pixels, box, spec)

            with closing(ordered_map(cut, faces, workers=allowed_threads())) as crops:
                for row, crop in enumerate(track(crops, "cutting faces", total=len(table))):
                    out[row] = crop
            out.flush()
            del out
    stored: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return stored


def split_by_group(table: FaceTable, validation_share: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows for training and for validation: within every source whole families go one way, chosen by their hash."""
    validation = held_out(table.families, table.sources, validation_share)
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def _reader(table: FaceTable, data: Dataset | Path) -> Callable[[str], Path | bytes]:
    """Name in the table → what :func:`decode` takes."""
    if isinstance(data, Path):
        return lambda name: data / name
    root = folder_of(data)
    wanted = set(table.paths.tolist())
    samples = {name: sample for sample in data if (name := relative_name(sample, root)) in wanted}
    if len(samples) < len(wanted):
        lost = min(wanted - samples.keys())
        raise TrainingDataError(f"{data.root}: {lost} is gone; restore it, or find the faces again in another cache")
    return lambda name: data.read(samples[name])


def _find_one(sample: Sample, data: Dataset | Path) -> tuple[_Found | str, Key | None, Facts | None]:
    """Box and landmarks in the stored crop, or why there are none; and the file as it was, with what is known of it."""
    file, facts = key_of(sample), None
    finder, mesh = _tools()
    try:
        read, facts = at_once(sample.path if isinstance(data, Path) else data.read(sample), sample.name)
        pixels = decode(read, name=sample.name).pixels
        faces: Sequence[Face] = finder.find(pixels)
    except InputError as error:
        return error.reason, file, facts
    except (OSError, cv2.error) as error:
        return f"cannot be read: {one_line(error)}", file, facts
    return _landmarks(mesh, pixels, faces), file, facts


def _landmarks(mesh: FaceMesh, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> _Found | str:
    """Box of the largest face and its landmarks in the stored crop, or why there are none."""
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
    """One of each per thread."""
    if not hasattr(_local, "tools"):
        _local.tools = FaceFinder(), FaceMesh()
    tools: tuple[FaceFinder, FaceMesh] = _local.tools
    return tools


_local = threading.local()
