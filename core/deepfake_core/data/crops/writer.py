"""Writing a store of crops: shard by shard, so that an interrupted run goes on after the last whole one."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tarfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.splits import families
from deepfake_core.datasets import Sample
from deepfake_core.datasets.crop_store.store import COLUMNS, INDEX, NAMED, RECORD, REJECTED, SHARDS, SPLITS, StoreSpec
from deepfake_core.errors import TrainingDataError
from deepfake_registry.files import atomic_path, write_atomic

if TYPE_CHECKING:
    from deepfake_core.data.inspect import Facts
    from deepfake_core.data.state import Key

PARTS = "parts"
_BLOCK = 512
# Texts of a row: codes are given to them when all rows are known.
_TEXTS = ("source", "group", "persons", "video", "origin")
_NUMBERS = ("offset", "length", "crc", "size", "box", "fake", "split", "frame", "moving")


@dataclass(frozen=True, slots=True)
class Crop:
    """One picture to store.

    Attributes:
        data: The encoded file.
        size: Height and width in pixels.
        box: x, y, width, height of the face in its pixels.
        frame: Place in the video or the sequence; -1 without.
    """

    data: bytes
    size: tuple[int, int]
    box: tuple[float, float, float, float] | None
    frame: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one sample gave.

    Attributes:
        crops: Pictures to store.
        rejected: Frame (-1 for a picture or a whole video) and reason of what was left out.
        moving: Whether it is a video.
        file: The sample's file as it was before it was read; ``None`` where it cannot be found.
        facts: Size and hash of the file, where it was read whole.
    """

    crops: Sequence[Crop] = ()
    rejected: Sequence[tuple[int, str]] = ()
    moving: bool = False
    file: Key | None = None
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class State:
    """How far a store has come at the end of a shard.

    Attributes:
        samples: Samples that are done.
        rows: Pictures stored.
        rejected: Pictures and frames left out.
        listing: Hex digest over the samples that are done, as the dataset lists them.
        content: Hex digest over the rows.
    """

    samples: int = 0
    rows: int = 0
    rejected: int = 0
    listing: str = ""
    content: str = ""


class ShardWriter:
    """Appends samples to a store.

    A shard counts once its part, the file with its rows and the state after it, is in place; whatever a killed
    process left beyond that is removed or overwritten.

    Args:
        folder: The store's folder; an interrupted run in it is continued.
        spec: What decides the pictures.
        shard_bytes: A shard ends after the sample with which it reaches this size.
    """

    def __init__(self, folder: Path, spec: StoreSpec, shard_bytes: int) -> None:
        self.folder, self.spec, self.shard_bytes = folder, spec, shard_bytes
        for name in (SHARDS, PARTS, INDEX):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for leftover in (folder / name).glob(".*.tmp"):
                leftover.unlink()
        self.shards: list[dict[str, Any]] = []
        self.state = State()
        for part in _parts(folder):
            self.shards.append({"file": f"{len(self.shards):06d}.tar", "bytes": part["bytes"]})
            self.state = State(**part["state"])
        self.resumed = self.state
        self._shard: _Shard | None = None

    def add(self, sample: Sample, origin: str, listing: str, outcome: Outcome) -> None:
        """Append what one sample gave; ``listing`` is the digest after it."""
        if self._shard is None:
            self._shard = _Shard(self.folder / SHARDS / f"{len(self.shards):06d}.tar", self.spec)
        shard, state = self._shard, self.state
        content = state.content
        for number, crop in enumerate(outcome.crops, state.rows):
            content = shard.add(number, crop, sample, origin, content, moving=outcome.moving)
        shard.rejected += [(origin, frame, reason) for frame, reason in outcome.rejected]
        self.state = State(
            samples=state.samples + 1,
            rows=state.rows + len(outcome.crops),
            rejected=state.rejected + len(outcome.rejected),
            listing=listing,
            content=content,
        )
        if shard.size >= self.shard_bytes:
            self._end_shard()

    def close(self) -> None:
        """Drop the shard that is not whole; nothing after a :meth:`finish`."""
        if self._shard is not None:
            self._shard.drop()
            self._shard = None

    def finish(self, record: dict[str, Any]) -> None:
        """Write the last shard, the index and the record that makes the store complete.

        Raises:
            TrainingDataError: Nothing was stored.
        """
        if self._shard is not None:
            self._end_shard()
        reasons = _write_rejected(self.folder)
        if not self.state.rows:
            raise TrainingDataError(
                f"{record['dataset']}: none of {self.state.samples} samples gave a picture to train on; see "
                f"{self.folder / REJECTED}" + (f", which begins with: {reasons}" if reasons else "")
            )
        counts = write_index(self.folder, self.state.rows)
        fingerprint = hashlib.sha256(f"{self.spec.model_dump_json()}{self.state.content}".encode()).hexdigest()
        whole = {
            **record,
            "complete": True,
            "samples": self.state.samples,
            "rows": self.state.rows,
            "rejected": self.state.rejected,
            "counts": counts,
            "listing": self.state.listing,
            "fingerprint": fingerprint,
            "shards": self.shards,
        }
        write_atomic(self.folder / RECORD, json.dumps(whole, indent=1) + "\n")
        shutil.rmtree(self.folder / PARTS)

    def _end_shard(self) -> None:
        assert self._shard is not None
        shard, self._shard = self._shard, None
        number = len(self.shards)
        size = shard.close()
        with atomic_path(self.folder / PARTS / f"{number:06d}.npz") as temporary, temporary.open("wb") as stream:
            columns: dict[str, Any] = {name: np.array(shard.columns[name], COLUMNS[name][0]) for name in _NUMBERS}
            state = {name: getattr(self.state, name) for name in State.__slots__}
            texts = {name: shard.columns[name] for name in _TEXTS}
            about = json.dumps({"bytes": size, "state": state, "rejected": shard.rejected, "texts": texts})
            np.savez(stream, about=np.frombuffer(about.encode(), np.uint8), **columns)
        self.shards.append({"file": f"{number:06d}.tar", "bytes": size})


class _Shard:
    """One tar file while it is written under a temporary name."""

    def __init__(self, path: Path, spec: StoreSpec) -> None:
        self._stack = ExitStack()
        self._extension = "png" if spec.quality is None else "jpg"
        self._stream = self._stack.enter_context(self._stack.enter_context(atomic_path(path)).open("wb"))
        self._tar = self._stack.enter_context(
            tarfile.TarFile(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)
        )
        self._path = path
        self.columns: dict[str, list[Any]] = {name: [] for name in (*_NUMBERS, *_TEXTS)}
        self.rejected: list[tuple[str, int, str]] = []

    @property
    def size(self) -> int:
        return int(self._tar.offset)

    def add(self, number: int, crop: Crop, sample: Sample, origin: str, content: str, *, moving: bool) -> str:
        """Append one row; gives the digest after it."""
        about = {
            "label": "fake" if sample.is_fake else "real",
            "fake": int(sample.is_fake),
            "source": sample.source,
            "group": sample.group,
            "split": sample.split,
            "identities": sample.identities,
            "origin": origin,
            "frame": crop.frame,
            "box": crop.box,
        }
        text = json.dumps(about).encode()
        self._member(f"{number:08d}.{self._extension}", crop.data)
        values = {
            "offset": self._tar.offset - -(-len(crop.data) // _BLOCK) * _BLOCK,
            "length": len(crop.data),
            "crc": zlib.crc32(crop.data),
            "size": crop.size,
            "box": crop.box or (np.nan,) * 4,
            "fake": int(sample.is_fake),
            "split": SPLITS.index(sample.split),
            "frame": crop.frame,
            "moving": moving,
            "source": sample.source,
            "group": sample.group,
            "persons": json.dumps(sample.identities),
            "video": json.dumps([int(sample.is_fake), sample.source, origin if moving else sample.group]),
            "origin": origin,
        }
        self._member(f"{number:08d}.json", text)
        for name, value in values.items():
            self.columns[name].append(value)
        return hashlib.sha256(content.encode() + text + crop.data).hexdigest()

    def _member(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # no time and no owner, so that the same rows give the same bytes
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))

    def close(self) -> int:
        """Put the file in place; gives its size in bytes."""
        self._stack.close()
        return self._path.stat().st_size

    def drop(self) -> None:
        """Remove the file."""
        self._stack.__exit__(InterruptedError, InterruptedError(), None)


def write_index(folder: Path, rows: int) -> dict[str, dict[str, int]]:
    """Join the parts into the index's arrays; gives the number of rows of every source and class.

    Memory grows with the number of groups, not with the number of rows.
    """
    with ExitStack() as stack:
        arrays = {}
        for name, (dtype, shape) in COLUMNS.items():
            path = stack.enter_context(atomic_path(folder / INDEX / f"{name}.npy"))
            arrays[name] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(rows, *shape))
        names = {name: stack.enter_context(_NameWriter(folder / INDEX, name)) for name in NAMED}
        videos: dict[str, int] = {}
        first, previous = 0, None
        for number, part in enumerate(_parts(folder)):
            here = slice(first, first + len(part["fake"]))
            for name in _NUMBERS:
                arrays[name][here] = part[name]
            arrays["shard"][here] = number
            for name in ("source", "group", "persons"):
                arrays[name][here] = [names[name].code(text) for text in part["texts"][name]]
            arrays["video"][here] = [videos.setdefault(text, len(videos)) for text in part["texts"]["video"]]
            for row, origin in enumerate(part["texts"]["origin"], first):
                if origin != previous:  # frames of one video follow each other
                    names["origin"].append(origin)
                    previous = origin
                arrays["origin"][row] = len(names["origin"].ends) - 1
            first = here.stop
        family_of = _family_of_groups(arrays["group"], arrays["persons"], names)
        for start in range(0, rows, 1 << 20):
            arrays["family"][start : start + (1 << 20)] = family_of[arrays["group"][start : start + (1 << 20)]]
        return _counts(arrays["source"], arrays["fake"], list(names["source"].codes))


def _family_of_groups(
    group: NDArray[np.int32], persons: NDArray[np.int32], names: dict[str, _NameWriter]
) -> NDArray[np.int32]:
    """For every group's code the code of its family."""
    pairs = np.unique(group.astype(np.int64) << 32 | persons)
    groups, shown = (pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist()
    group_names, person_names = list(names["group"].codes), [json.loads(text) for text in names["persons"].codes]
    named = families([group_names[code] for code in groups], [person_names[code] for code in shown])
    result = np.zeros(len(group_names), np.int32)
    result[groups] = [names["family"].code(name) for name in named]
    return result


def _counts(source: NDArray[np.int32], fake: NDArray[np.int8], names: list[str]) -> dict[str, dict[str, int]]:
    table = np.bincount(source.astype(np.int64) * 2 + fake, minlength=2 * len(names)).reshape(-1, 2)
    return {name: {"real": int(real), "fake": int(fakes)} for name, (real, fakes) in zip(names, table, strict=True)}


class _NameWriter:
    """Names one after another in a file, and where each ends in another."""

    def __init__(self, folder: Path, name: str) -> None:
        self.codes: dict[str, int] = {}
        self.ends = array("q")
        self._stack = ExitStack()
        self._ends_path = folder / f"{name}_ends.npy"
        self._blob_path = folder / f"{name}_names.bin"

    def __enter__(self) -> _NameWriter:
        self._stream = self._stack.enter_context(self._stack.enter_context(atomic_path(self._blob_path)).open("wb"))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            with atomic_path(self._ends_path) as path, path.open("wb") as stream:
                np.save(stream, np.frombuffer(self.ends, np.int64))
        self._stack.__exit__(*error)

    def append(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        self._stream.write(data)
        self.ends.append((self.ends[-1] if self.ends else 0) + len(data))

    def code(self, text: str) -> int:
        """Number of a name, which is appended when it is new."""
        code = self.codes.setdefault(text, len(self.codes))
        if code == len(self.ends):
            self.append(text)
        return code


def _parts(folder: Path) -> Iterator[dict[str, Any]]:
    """What the parts say, in order, up to the first that is missing."""
    for number in count():
        path = folder / PARTS / f"{number:06d}.npz"
        if not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as stored:
                part = {name: stored[name] for name in _NUMBERS}
                yield {**part, **json.loads(stored["about"].tobytes())}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise TrainingDataError(f"{path}: cannot be read; prepare again with rebuild=True ({error})") from error


def _write_rejected(folder: Path) -> str:
    """Write the table of what was left out; gives its first lines for a message."""
    shown: list[str] = []
    with (
        atomic_path(folder / REJECTED) as path,
        path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(("path", "frame", "reason"))
        for part in _parts(folder):
            for origin, frame, reason in part["rejected"]:
                writer.writerow((origin, "" if frame < 0 else frame, reason))
                if len(shown) < 3:
                    shown.append(f"{origin}: {reason}")
    return "; ".join(shown)
