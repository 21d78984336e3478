"""Write a store of crops into one file, or into parts of a chosen size, that trains on other machines."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from deepfake_core.data.crops.coding import encode
from deepfake_core.data.crops.file_hashes import PACKED, file_hashes
from deepfake_core.datasets.crop_store.pack import ALIGNMENT, VERSION, Part, is_pack, part_at_end, part_path
from deepfake_core.datasets.crop_store.store import (
    COLUMNS,
    INDEX,
    NAMED,
    NEIGHBOURS,
    POINTS,
    RECORD,
    REJECTED,
    SHARDS,
    CropStore,
    PackRecord,
    read_record,
)
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.crop import crop_side, resize
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import atomic_path, check_writable
from deepfake_registry.manifest import FaceCrop, Resize
from deepfake_registry.provenance import SourceTerms

log = logging.getLogger("deepfake.training")

# Columns of the index that a pack has for itself; the others are those of the store.
_OWN = ("shard", "offset", "length", "crc", "size", "box")
# Room for the record and for the headers of a part, in bytes.
_ROOM = 1 << 16
_BLOCK = 1 << 24


def pack(
    store: CropStore,
    out: str | Path,
    *,
    coding: Literal["webp", "jpeg"] = "webp",
    quality: int = 90,
    side: int | None = None,
    max_mb: float | None = None,
    terms: Sequence[SourceTerms] = (),
    workers: int | None = None,
    force: bool = False,
) -> CropStore:
    """Write a store into one file that holds everything training needs, and return the store that the file is.

    All crops are coded anew, those of both classes in the same way. The same store and settings give the same bytes
    where the same releases of the libraries code the pictures. The files appear when they are complete; one that was
    made of the same store with the same settings before is left as it is.

    Args:
        store: Store to pack.
        out: File of the pack; further parts are beside it, as ``faces.2.pack`` beside ``faces.pack``.
        coding: Format of the crops.
        quality: Quality of that format, from 1 to 100.
        side: Longest side of the square around a face in pixels, or half of that of a whole picture; larger ones are
            reduced. By default none is.
        max_mb: Largest size of a file in megabytes; by default there is one file, however large.
        terms: Licence terms of the sources, which a model that is trained on the pack states.
        workers: Number of threads; by default as many as the process may use.
        force: Whether to replace a file that is there.

    Raises:
        TrainingDataError: There is another file of this name; a setting is out of its range; ``max_mb`` is less than
            the index takes; or a crop of the store is damaged.
        DeepfakeError: The disk is full, or the folder cannot be written.
        InputError: A crop of the store is damaged.
    """
    out = Path(out)
    try:
        about = PackRecord(
            coding=coding, quality=quality, side=side, max_mb=max_mb, store=store.fingerprint, terms=tuple(terms)
        )
    except ValidationError as error:
        raise TrainingDataError(f"a pack cannot be made: {error.errors()[0]['loc'][0]} is out of its range") from error
    if (found := _existing(store, out, about, force=force)) is not None:
        return found
    check_writable(out)
    with ExitStack() as files:
        writer = _Writer(store, about, out, files, force=force)
        with closing(ordered_map(writer.coded, range(len(store)), workers=workers or allowed_threads())) as crops:
            for row, crop in enumerate(track(crops, "packing faces", total=len(store), unit="faces")):
                writer.add(row, crop)
        parts = writer.finish()
    _remove_parts_after(out, parts)
    packed = CropStore(out)
    log.info("%s: %d crops of %s in %d files", out, len(packed), packed.dataset, parts)
    return packed


def _existing(store: CropStore, out: Path, about: PackRecord, *, force: bool) -> CropStore | None:
    """Return the pack that was made in the same way already, or ``None`` where the file may be written.

    Raises:
        TrainingDataError: There is another file or a folder of this name.
    """
    if out.is_dir():
        raise TrainingDataError(f"{out}: is a folder; name a file, such as {out / 'faces.pack'}")
    if out.exists() and out.samefile(store.folder):
        raise TrainingDataError(f"{out}: is the pack that is to be packed; name another file")
    if force or not out.exists():
        return None
    if not _is_whole(out, store, about):
        raise TrainingDataError(
            f"{out}: is there already, and is no whole pack of this store, as it is now, with these settings; name "
            "another file, or replace it by --force (in Python force=True)"
        )
    return CropStore(out)


def _is_whole(out: Path, store: CropStore, about: PackRecord) -> bool:
    """Return whether a file is an undamaged pack of the store with the same settings."""
    try:
        found = CropStore(out) if is_pack(out) else None
        if found is None or found.packed != about or (found.points is None) != (store.points is None):
            return False
        for shard in found.shards:
            found.members.blob(f"{SHARDS}/{shard}")  # compares its check sum
    except TrainingDataError:
        return False
    return True


def _remove_parts_after(out: Path, parts: int) -> None:
    """Remove the further parts of a larger pack that this one has replaced, and nothing else of such a name."""
    for number in count(parts + 1):
        path = part_path(out, number)
        found = part_at_end(path) if path.is_file() else None
        if found is None or found.number != number:
            return
        path.unlink()


@dataclass(frozen=True, slots=True)
class _Coded:
    """A crop as it is packed: its file, its height and width in pixels, and the box of its face in pixels."""

    data: bytes
    size: tuple[int, int]
    box: NDArray[np.float32]


class _Writer:
    """Writer of the parts of a pack: the crops first, and then the index and the record into the first part."""

    def __init__(self, store: CropStore, about: PackRecord, out: Path, files: ExitStack, *, force: bool) -> None:
        self._store, self._about, self._out, self._files, self._force = store, about, out, files, force
        self._square = FaceCrop.model_construct(margin=store.spec.margin)  # not validated, as in the cutter
        self._columns = {name: np.zeros((len(store), *COLUMNS[name][1]), COLUMNS[name][0]) for name in _OWN}
        self._shards: list[dict[str, Any]] = []
        self._digest = hashlib.sha256(about.model_dump_json().encode())
        self._most = None if about.max_mb is None else int(about.max_mb * 1e6)
        buffer = io.BytesIO()
        np.save(buffer, file_hashes(store))
        self._files_read = buffer.getbuffer()
        index = sum(store.members.size(name) for name in (*_names(store), RECORD)) + len(self._files_read)
        if self._most is not None and index + _ROOM > self._most:
            raise TrainingDataError(
                f"{out}: the index of {len(store):,} faces must fit into the first file, and takes "
                f"{(index + _ROOM) / 1e6:,.1f} MB; allow {-(-(index + _ROOM) // 1_000_000)} MB or more for a file"
            )
        self._paths: list[Path] = []
        self._archives: list[zipfile.ZipFile] = []
        self._begin(index)

    def coded(self, row: int) -> _Coded:
        """Return a row of the store as it is packed."""
        store, about = self._store, self._about
        pixels = store.read(row)
        box = np.array(store.boxes[row])
        if about.side is not None and about.side < store.spec.side:
            face = store.box(row)
            longest, most = (
                (max(pixels.shape), 2 * about.side) if face is None else (crop_side(face, self._square), about.side)
            )
            if longest > most:
                height, width = (max(1, round(side * most / longest)) for side in pixels.shape[:2])
                box *= np.array([width / pixels.shape[1], height / pixels.shape[0]] * 2, np.float32)
                pixels = resize(pixels, Resize(height=height, width=width, interpolation="bicubic"))
        return _Coded(encode(pixels, about.coding, about.quality), (pixels.shape[0], pixels.shape[1]), box)

    def add(self, row: int, crop: _Coded) -> None:
        """Append the next row."""
        if self._most is not None and len(crop.data) > self._room:
            self._end()
            self._begin(0)
            if len(crop.data) > self._room:
                raise TrainingDataError(
                    f"{self._out}: a face of {len(crop.data) / 1e6:.1f} MB does not fit into a file of "
                    f"{self._about.max_mb:g} MB; allow more, or choose a smaller side"
                )
        values = {
            "shard": len(self._paths) - 1,
            "offset": self._size,
            "length": len(crop.data),
            "crc": zlib.crc32(crop.data),
            "size": crop.size,
            "box": crop.box,
        }
        for name, value in values.items():
            self._columns[name][row] = value
        self._shard.write(crop.data)
        self._digest.update(crop.data)
        self._size += len(crop.data)
        self._room -= len(crop.data)

    def finish(self) -> int:
        """Write the index and the record, and return the number of parts."""
        self._end()
        for name in _names(self._store):
            content: memoryview = self._store.members.blob(name).data
            if (column := name.removeprefix(f"{INDEX}/").removesuffix(".npy")) in _OWN:
                buffer = io.BytesIO()
                np.save(buffer, self._columns[column])
                content = buffer.getbuffer()
            with _member(self._archives[0], name) as member:
                for start in range(0, len(content), _BLOCK):
                    member.write(content[start : start + _BLOCK])
                    self._digest.update(content[start : start + _BLOCK])
        fingerprint = self._digest.hexdigest()
        # They say nothing about the crops, and are no part of the fingerprint.
        with _member(self._archives[0], PACKED) as member:
            member.write(self._files_read)
        with _member(self._archives[0], RECORD) as member:
            member.write(f"{json.dumps(self._record(fingerprint), indent=1)}\n".encode())
        self._archives[0].close()
        for number, path in enumerate(self._paths, 1):
            with zipfile.ZipFile(path, "a") as archive:
                archive.comment = Part(VERSION, number, len(self._paths), fingerprint).comment()
        return len(self._paths)

    def _begin(self, reserved: int) -> None:
        """Begin a part, and its shard."""
        number = len(self._paths)
        path = part_path(self._out, number + 1)
        if number and path.exists() and not self._force:
            raise TrainingDataError(
                f"{path}: is there already; name another file for the pack, or replace it by --force (in Python "
                "force=True)"
            )
        self._paths.append(self._files.enter_context(atomic_path(path)))
        self._archives.append(self._files.enter_context(zipfile.ZipFile(self._paths[-1], "w")))
        self._name = f"{number:06d}.{self._about.coding}s"
        self._open = ExitStack()
        self._files.enter_context(self._open)
        self._shard = self._open.enter_context(_member(self._archives[-1], f"{SHARDS}/{self._name}"))
        self._size = 0
        self._room = 0 if self._most is None else self._most - _ROOM - reserved

    def _end(self) -> None:
        """End a part; the first stays open, because the index belongs there."""
        self._open.close()
        self._shards.append({"file": self._name, "bytes": self._size})
        if len(self._archives) > 1:
            self._archives[-1].close()

    def _record(self, fingerprint: str) -> dict[str, Any]:
        store = self._store
        kept = read_record(store.folder, store.members)
        spec = store.spec.model_copy(
            update={"side": min(store.spec.side, self._about.side or store.spec.side), "quality": self._about.quality}
        )
        record = {name: kept.get(name) for name in ("dataset", "samples", "rows", "rejected", "counts")}
        record |= {
            "complete": True,
            "labels": store.labels,
            "spec": spec.model_dump(mode="json"),
            "fingerprint": fingerprint,
        }
        if store.points is not None:
            record["landmarks"] = store.landmarks_record() | {"of": fingerprint}
        return record | {"pack": self._about.model_dump(mode="json"), "shards": self._shards}


def _names(store: CropStore) -> list[str]:
    """Return the names of all members of a pack but the record and the crops."""
    arrays = [*COLUMNS, *(f"{name}_ends" for name in NAMED)]
    if store.points is not None:
        arrays += [POINTS, NEIGHBOURS]
    names = [*(f"{INDEX}/{name}.npy" for name in arrays), *(f"{INDEX}/{name}_names.bin" for name in NAMED), REJECTED]
    return [name for name in names if name != REJECTED or store.members.exists(name)]


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[Any]:
    """Open the next member of an archive for writing, at an aligned offset and without time and owner."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16  # as on Unix, wherever it is written
    info.CRC = 0  # the header is as long as with the value that it gets in the end
    assert archive.fp is not None
    begin = archive.fp.tell() + len(info.FileHeader(zip64=True)) + 4
    fill = -begin % ALIGNMENT
    info.extra = b"\x35\xd9" + fill.to_bytes(2, "little") + bytes(fill)  # the field that Android aligns archives by
    with archive.open(info, "w", force_zip64=True) as member:
        yield member
