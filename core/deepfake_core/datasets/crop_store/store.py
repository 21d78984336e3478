"""Face crops in tar shards with a memory-mapped index: the form in which training reads every dataset.

No row is a Python object, so that neither memory nor the cost of starting a loader process grows with the number of
samples. :func:`~deepfake_core.data.crops.prepare.prepare` makes a store.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from deepfake_core.datasets.crop_store.members import Members
from deepfake_core.datasets.crop_store.pack import open_members
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.faces import WEIGHTS
from deepfake_registry.manifest import Clip, Frozen
from deepfake_registry.provenance import SourceTerms

SPLITS = ("", "train", "valid", "test")
"""Names of the codes in :attr:`CropStore.splits`. The first is for samples whose dataset defines no split."""

SHARDS, INDEX, RECORD, REJECTED = "shards", "index", "store.json", "rejected.csv"
LANDMARKS_VERSION = 1
"""Version of the way in which landmarks are found; those of another version count as missing."""

POINTS, NEIGHBOURS = "points", "neighbours"
"""Names of the arrays with the landmarks of the faces and with the rows of similar faces, which not every store has."""

HASHES = "hashes.sqlite"
"""Name of the file with the hashes that the dataset's images had when they were cropped."""

COLUMNS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "shard": (np.int32, ()),
    "offset": (np.int64, ()),
    "length": (np.int32, ()),
    "crc": (np.uint32, ()),
    "size": (np.uint16, (2,)),
    "box": (np.float32, (4,)),
    "fake": (np.int8, ()),
    "split": (np.int8, ()),
    "source": (np.int32, ()),
    "group": (np.int32, ()),
    "family": (np.int32, ()),
    "persons": (np.int32, ()),
    "video": (np.int32, ()),
    "frame": (np.int32, ()),
    "moving": (np.bool_, ()),
    "origin": (np.int32, ()),
}
"""Arrays of the index, which have one entry per row: dtype and shape of an entry."""

NAMED = ("source", "group", "family", "persons", "origin")
"""Columns that contain codes of names."""


class StoreSpec(Frozen):
    """Settings that determine the images of a store. A store with other settings is another store.

    Attributes:
        crop: ``face`` stores the square around the largest face, as far as it lies within the image. ``whole`` stores
            the whole image.
        margin: Side of the square, divided by the longer side of the face's box.
        side: Maximum side of a stored square in pixels. Larger squares are reduced, and smaller ones are not enlarged.
            A whole image may have twice this side.
        quality: JPEG quality, with full colour resolution; ``None`` stores lossless PNG.
        frames: Number of frames taken from each video, evenly spread.
        clip: Length and stride of the clips that are taken from each video instead of single frames; there are as many
            clips as have ``frames`` frames together. A video that is stored as a folder of frames is always taken in
            whole.
        max_images: Maximum number of images or videos taken from the dataset.
        finder: Name of the face finder's weights.
        format: Version of the store's layout on disk.
    """

    crop: Literal["face", "whole"] = "face"
    margin: float = Field(1.7, gt=0.5, le=8)
    side: int = Field(320, ge=8, le=2048)
    quality: int | None = Field(95, ge=1, le=100)
    frames: int = Field(16, gt=0)
    clip: Clip | None = None
    max_images: int | None = Field(None, gt=0)
    finder: str = WEIGHTS
    format: int = 1


class PackRecord(Frozen):
    """What the record of a pack says beside that of a store.

    Attributes:
        coding: Format in which the images were coded anew, all in the same way.
        quality: Quality of that format.
        side: Longest side to which larger squares were reduced, as in :class:`StoreSpec`; ``None`` reduced none.
        max_mb: Size of a part in megabytes; ``None`` for a single one.
        store: Fingerprint of the store that the pack was made of.
        terms: Licence terms of the sources of the images, where they are known.
    """

    coding: Literal["webp", "jpeg"]
    quality: int = Field(ge=1, le=100)
    side: int | None = None
    max_mb: float | None = None
    store: str
    terms: tuple[SourceTerms, ...] = ()


class Names(Sequence[str]):
    """Names by their code, read from memory-mapped arrays when they are needed.

    Args:
        blob: All names in UTF-8, one after another: ``uint8 [bytes]``.
        ends: Offset of the end of each name in ``blob``: ``int64 [N]``.
    """

    def __init__(self, blob: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._blob, self._ends = blob, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, code: int) -> str: ...
    @overload
    def __getitem__(self, code: slice) -> list[str]: ...
    def __getitem__(self, code: int | slice) -> str | list[str]:
        if isinstance(code, slice):
            return [self[index] for index in range(*code.indices(len(self)))]
        code += len(self) if code < 0 else 0
        if code < 0:
            raise IndexError(code)
        start = int(self._ends[code - 1]) if code > 0 else 0
        return self._blob[start : int(self._ends[code])].tobytes().decode("utf-8", "surrogateescape")


class CropStore:
    """A store that :func:`~deepfake_core.data.crops.prepare.prepare` made. It can be sent to other processes.

    Args:
        folder: Folder of the store, or a pack of it (:func:`~deepfake_core.data.crops.pack.pack`).

    Attributes:
        spec: Settings that determined the images.
        dataset: Name of the dataset that the images come from.
        fingerprint: Hex sha256 over the settings and over the image, label and names of every row.
        samples: Number of images and videos that the store was made from, including those that were left out.
        rejected: Number of images and frames that were left out; ``rejected.csv`` gives the reasons.
        labels: How the labels of the dataset were read, with the number of samples of each.
        packed: How the images of a pack were coded; ``None`` for a store that no pack was made of.
        fake: Ground truth, ``int8 [N]``: 1 for fake, 0 for real.
        sources: Codes in ``source_names``, ``int32 [N]``.
        groups: Codes in ``group_names``, ``int32 [N]``.
        families: Codes in ``family_names``, ``int32 [N]``. Groups that share an identity, directly or through other
            groups, are one family. Splits do not divide families.
        splits: Codes in :data:`SPLITS`, ``int8 [N]``.
        videos: Number of the video or sequence that a row belongs to, ``int32 [N]``.
        frames: Index of the frame in its video or of the image in its sequence, ``int32 [N]``; -1 if there is none.
        origins: Code of the file that a row was made from, ``int32 [N]``.
        boxes: Box of the face (x, y, width, height) in pixels of the stored image, ``float32 [N, 4]``; NaN if there is
            none.
        sizes: Height and width of the stored image in pixels, ``uint16 [N, 2]``.
        points: Landmarks of the face, x / width and y / height of the stored image, ``float16 [N, P, 2]``, in the order
            of :data:`~deepfake_core.data.crops.face_mesh.POINTS`; NaN rows where none were found. ``None`` in a store
            without landmarks (:func:`~deepfake_core.data.crops.landmarks.find_landmarks`).
        neighbours: Rows of the real faces whose shape is the most similar, ``int32 [N, K]``, the most similar first: at
            most one of each group, none of the row's own, and -1 where there are no more. Rows of fakes have none.
            ``None`` in a store without landmarks.
        source_names: Names of the sources.
        group_names: Names of the groups.
        family_names: Names of the families.
        origin_names: Names of the files: paths that begin at the dataset's folder, with ``!member`` in an archive.

    Raises:
        TrainingDataError: The folder contains no complete store, or the file is no whole pack.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.members = open_members(self.folder)
        record = read_record(self.folder, self.members)
        if not record.get("complete"):
            raise TrainingDataError(f"{self.folder}: preparing was interrupted; run it again to go on from there")
        try:
            if (version := record["spec"].get("format")) != StoreSpec().format:
                raise TrainingDataError(
                    f"{self.folder / RECORD}: a store of version {version}, and this program reads version "
                    f"{StoreSpec().format}; update the older of the two programs, or {self.members.remedy}"
                )
            self.spec = StoreSpec.model_validate(record["spec"])
            self.dataset, self.fingerprint = record["dataset"], record["fingerprint"]
            self.samples, self.rejected = record["samples"], record["rejected"]
            self.labels: str = record.get("labels", "")
            self.packed: PackRecord | None = PackRecord.model_validate(record["pack"]) if "pack" in record else None
            self.shards: tuple[str, ...] = tuple(shard["file"] for shard in record["shards"])
            for shard in record["shards"]:
                self._check_size(f"{SHARDS}/{shard['file']}", shard["bytes"])
            self._columns = {name: self._load(name, record["rows"]) for name in COLUMNS}
            names = {name: Names(self._blob(name), self._load(f"{name}_ends")) for name in NAMED}
            landmarks = record.get("landmarks")
            if landmarks == self.landmarks_record():
                self.points: NDArray[np.float16] | None = self._load(POINTS, record["rows"])
                self.neighbours: NDArray[np.int32] | None = self._load(NEIGHBOURS, record["rows"])
            else:
                self.points = self.neighbours = None
        except (AttributeError, KeyError, TypeError, ValidationError) as error:
            raise TrainingDataError(
                f"{self.folder / RECORD}: not a store that this version can read; {self.members.remedy} "
                f"({' '.join(str(error).split())})"
            ) from error
        self.fake, self.sources, self.groups = (self._columns[name] for name in ("fake", "source", "group"))
        self.families, self.splits, self.videos = (self._columns[name] for name in ("family", "split", "video"))
        self.frames, self.boxes, self.sizes = (self._columns[name] for name in ("frame", "box", "size"))
        self.origins = self._columns["origin"]
        self.source_names, self.group_names, self.family_names = names["source"], names["group"], names["family"]
        self._persons, self.origin_names = names["persons"], names["origin"]

    def __reduce__(self) -> tuple[Any, ...]:
        return CropStore, (self.folder,)  # memory maps and open files cannot be sent

    @property
    def suffix(self) -> str:
        """Suffix of the files of the images: ``"jpg"``, ``"png"`` or ``"webp"``."""
        if self.packed is not None:
            return {"jpeg": "jpg"}.get(self.packed.coding, self.packed.coding)
        return "png" if self.spec.quality is None else "jpg"

    def place(self, row: int) -> tuple[Path, int, int]:
        """Return the place of the file of a row: the file that holds it, and its offset and length in bytes there."""
        shard, offset, length = self.span(row)
        path, start = self.members.place(f"{SHARDS}/{self.shards[shard]}")
        return path, start + offset, length

    def landmarks_record(self) -> dict[str, Any]:
        """Return what the record of the store states if its landmarks belong to its images, and to this version."""
        return {"version": LANDMARKS_VERSION, "of": self.fingerprint}

    def __len__(self) -> int:
        return len(self.fake)

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return the image of a row, ``uint8 [H, W, 3]`` RGB.

        Raises:
            InputError: The stored image is damaged.
        """
        pixels = cv2.imdecode(np.frombuffer(self.encoded(row), np.uint8), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise InputError(self.origin(row), self._damaged(row))
        return cast("NDArray[np.uint8]", pixels)

    def encoded(self, row: int) -> bytes:
        """Return the JPEG, PNG or WebP file of a row.

        Raises:
            InputError: The stored image is damaged.
        """
        shard, offset, length = self.span(row)
        try:
            data = self.members.read(f"{SHARDS}/{self.shards[shard]}", offset, length)
        except OSError as error:
            raise InputError(self.origin(row), f"{self._damaged(row)} ({error.strerror})") from error
        if zlib.crc32(data) != int(self._columns["crc"][row]):
            raise InputError(self.origin(row), self._damaged(row))
        return data

    def span(self, row: int) -> tuple[int, int, int]:
        """Return the place of the file of a row: number of its shard, offset and length in bytes."""
        return int(self._columns["shard"][row]), int(self._columns["offset"][row]), int(self._columns["length"][row])

    def box(self, row: int) -> Box | None:
        """Return the box of the face in pixels of the stored image, or ``None`` if there is none."""
        x, y, width, height = self.boxes[row].tolist()
        return None if x != x else Box(x, y, width, height)

    def origin(self, row: int) -> str:
        """Return the name of the dataset's file that a row was made from, with the number of the frame for a video."""
        name = self.origin_names[int(self.origins[row])]
        return f"{name} frame {self.frames[row]}" if self._columns["moving"][row] else name

    def identities(self, row: int) -> tuple[str, ...]:
        """Return the persons shown in a row; empty if the dataset does not name them."""
        return tuple(json.loads(self._persons[int(self._columns["persons"][row])]))

    def persons(self, rows: NDArray[np.intp]) -> set[str]:
        """Return all persons shown in any of the rows ``int [M]``; empty if the dataset does not name them."""
        codes = np.unique(self._columns["persons"][rows]).tolist()
        return {person for code in codes for person in json.loads(self._persons[code])}

    def rows(self, split: str) -> NDArray[np.intp]:
        """Return the rows that the dataset itself assigns to a split, ``int [M]`` in ascending order."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def _damaged(self, row: int) -> str:
        return f"its stored crop in {self.place(row)[0]} is damaged; {self.members.remedy}"

    def _load(self, name: str, rows: int | None = None) -> NDArray[Any]:
        column = self.members.array(f"{INDEX}/{name}.npy")
        if rows is not None and len(column) != rows:
            path = self.folder / INDEX / f"{name}.npy"
            raise TrainingDataError(f"{path}: {len(column)} rows instead of {rows}; {self.members.remedy}")
        return column

    def _blob(self, name: str) -> NDArray[np.uint8]:
        return self.members.blob(f"{INDEX}/{name}_names.bin")

    def _check_size(self, name: str, wanted: int) -> None:
        if (found := self.members.size(name)) != wanted:
            raise TrainingDataError(f"{self.folder / name}: {found} bytes instead of {wanted}; {self.members.remedy}")


def read_record(folder: Path, members: Members | None = None) -> dict[str, Any]:
    """Return the content of a store's ``store.json``.

    Args:
        folder: Folder of the store, or a pack.
        members: Members of the store, if they are open already.

    Raises:
        TrainingDataError: The file does not exist or cannot be read.
    """
    members = members or open_members(folder)
    if not (folder.is_file() or members.exists(RECORD)):
        raise TrainingDataError(f"{folder}: no store of crops ({RECORD}); make one with dfbench data prepare")
    path = folder / RECORD
    try:
        record = json.loads(members.content(RECORD))
    except ValueError as error:
        raise TrainingDataError(f"{path}: cannot be read; {members.remedy} ({error})") from error
    if not isinstance(record, dict):
        raise TrainingDataError(f"{path}: not the record of a store; {members.remedy}")
    return record
