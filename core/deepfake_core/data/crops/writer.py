"""Write a store of crops shard by shard, so that an interrupted run continues after the last complete shard."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_core.data.crops.index import NUMBERS, PARTS, read_parts, write_index
from deepfake_core.datasets import Sample
from deepfake_core.datasets.crop_store.store import COLUMNS, INDEX, RECORD, REJECTED, SHARDS, SPLITS, StoreSpec
from deepfake_core.errors import TrainingDataError
from deepfake_registry.files import atomic_path, write_atomic

if TYPE_CHECKING:
    from deepfake_core.data.fact_cache import Key
    from deepfake_core.data.inspect import Facts

_BLOCK = 512
# Texts of a row, which become codes when all rows are known.
_TEXTS = ("source", "group", "persons", "video", "origin")


@dataclass(frozen=True, slots=True)
class Crop:
    """One crop to store.

    Attributes:
        data: Bytes of the encoded file.
        size: Height and width in pixels.
        box: x, y, width and height of the face in pixels of the crop; ``None`` for a whole image.
        frame: Number of the frame in the video or the sequence; -1 where there is none.
    """

    data: bytes
    size: tuple[int, int]
    box: tuple[float, float, float, float] | None
    frame: int


@dataclass(frozen=True, slots=True)
class SampleCrops:
    """Crops of one sample.

    Attributes:
        crops: Crops to store.
        rejected: Frame number and reason of everything that was left out; -1 stands for an image or a whole video.
        moving: Whether the sample is a video.
        file: Key of the sample's file before it was read; ``None`` where the file cannot be found.
        facts: Size and hash of the file, where it was read as a whole.
    """

    crops: Sequence[Crop] = ()
    rejected: Sequence[tuple[int, str]] = ()
    moving: bool = False
    file: Key | None = None
    facts: Facts | None = None

    @property
    def source(self) -> str:
        """The hash of the file, or its size and time where it was not read as a whole."""
        return self.facts.sha256 if self.facts is not None else repr(self.file and self.file[1:])


def chained(digest: str, part: object) -> str:
    """Return the hex digest over everything that a digest is over, and one more part."""
    return hashlib.sha256(f"{digest} {part!r}".encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class WriterState:
    """Progress of a store at the end of a shard.

    Attributes:
        samples: Number of samples that are done.
        rows: Number of crops that are stored.
        rejected: Number of images and frames that were left out.
        listing: Hex digest over the samples that are done, as the dataset lists them.
        content: Hex digest over the rows.
        files: Hex digest over the states of the samples' files (:meth:`Dataset.state`), as they were listed.
        sources: Hex digest over the bytes of the samples' files, as they were read.
    """

    samples: int = 0
    rows: int = 0
    rejected: int = 0
    listing: str = ""
    content: str = ""
    files: str = ""
    sources: str = ""


class ShardWriter:
    """Writer that appends the crops of samples to a store.

    A shard is complete once its part is in place: the file with its rows and the state after it. Everything that a
    killed process left beyond that is removed or overwritten.

    Args:
        folder: Folder of the store; an interrupted run in it is continued.
        spec: Settings that determine the crops.
        shard_bytes: Size in bytes at which a shard ends, after the sample with which it reaches this size.

    Attributes:
        resumed: State that an interrupted run had reached.
        state: Present state.
        shards: File name and size in bytes of every complete shard.
    """

    def __init__(self, folder: Path, spec: StoreSpec, shard_bytes: int) -> None:
        self.folder, self.spec, self.shard_bytes = folder, spec, shard_bytes
        for name in (".", SHARDS, PARTS, INDEX):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for leftover in (folder / name).glob(".*.tmp"):
                leftover.unlink()
        self.shards: list[dict[str, Any]] = []
        self.state = WriterState()
        for part in read_parts(folder):
            self.shards.append({"file": f"{len(self.shards):06d}.tar", "bytes": part["bytes"]})
            self.state = WriterState(**part["state"])
        self.resumed = self.state
        self._shard: _Shard | None = None

    def add(self, sample: Sample, origin: str, listing: str, files: str, crops: SampleCrops) -> None:
        """Append the crops of one sample.

        Args:
            sample: Sample that was cut.
            origin: Name of the sample that does not depend on the dataset's place.
            listing: Digest over the samples up to and including this one.
            files: Digest over the states of their files.
            crops: Crops of the sample.
        """
        if self._shard is None:
            self._shard = _Shard(self.folder / SHARDS / f"{len(self.shards):06d}.tar", self.spec)
        shard, state = self._shard, self.state
        content = state.content
        for number, crop in enumerate(crops.crops, state.rows):
            content = shard.add(number, crop, sample, origin, content, moving=crops.moving)
        shard.rejected += [(origin, frame, reason) for frame, reason in crops.rejected]
        self.state = WriterState(
            samples=state.samples + 1,
            rows=state.rows + len(crops.crops),
            rejected=state.rejected + len(crops.rejected),
            listing=listing,
            content=content,
            files=files,
            sources=chained(state.sources, crops.source),
        )
        if shard.size >= self.shard_bytes:
            self._end_shard()

    def close(self) -> None:
        """Remove the shard that is not complete; after :meth:`finish` this does nothing."""
        if self._shard is not None:
            self._shard.drop()
            self._shard = None

    def finish(self, record: dict[str, Any]) -> None:
        """Write the last shard, the index, and the record that makes the store complete.

        Args:
            record: Fields of the record that the writer does not know.

        Raises:
            TrainingDataError: No crop was stored.
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
            "files": self.state.files,
            "sources": self.state.sources,
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
            columns: dict[str, Any] = {name: np.array(shard.columns[name], COLUMNS[name][0]) for name in NUMBERS}
            state = {name: getattr(self.state, name) for name in WriterState.__slots__}
            texts = {name: shard.columns[name] for name in _TEXTS}
            about = json.dumps({"bytes": size, "state": state, "rejected": shard.rejected, "texts": texts})
            np.savez(stream, about=np.frombuffer(about.encode(), np.uint8), **columns)
        self.shards.append({"file": f"{number:06d}.tar", "bytes": size})


class _Shard:
    """Tar file that is being written under a temporary name."""

    def __init__(self, path: Path, spec: StoreSpec) -> None:
        self._stack = ExitStack()
        self._extension = "png" if spec.quality is None else "jpg"
        self._stream = self._stack.enter_context(self._stack.enter_context(atomic_path(path)).open("wb"))
        self._tar = self._stack.enter_context(
            tarfile.TarFile(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)
        )
        self._path = path
        self.columns: dict[str, list[Any]] = {name: [] for name in (*NUMBERS, *_TEXTS)}
        self.rejected: list[tuple[str, int, str]] = []

    @property
    def size(self) -> int:
        return int(self._tar.offset)

    def add(self, number: int, crop: Crop, sample: Sample, origin: str, content: str, *, moving: bool) -> str:
        """Append one row and return the digest after it."""
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
        """Move the file to its final name and return its size in bytes."""
        self._stack.close()
        return self._path.stat().st_size

    def drop(self) -> None:
        """Remove the file."""
        self._stack.__exit__(InterruptedError, InterruptedError(), None)


def _write_rejected(folder: Path) -> str:
    """Write the table of what was left out, and return its first lines for a message."""
    shown: list[str] = []
    with (
        atomic_path(folder / REJECTED) as path,
        path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(("path", "frame", "reason"))
        for part in read_parts(folder):
            for origin, frame, reason in part["rejected"]:
                writer.writerow((origin, "" if frame < 0 else frame, reason))
                if len(shown) < 3:
                    shown.append(f"{origin}: {reason}")
    return "; ".join(shown)
