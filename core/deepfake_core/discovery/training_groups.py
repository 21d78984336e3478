"""What a model was trained and validated on, as hashes that are kept with its package.

With them, data that a model has seen are found again: the names of groups, wherever their files lie, and files with the
same bytes, whatever their names. A hash does not tell the name, but whoever knows a name can look it up.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import ArtifactCorrupt
from deepfake_registry.files import write_atomic

LIMIT = 1 << 28
"""Size in bytes of the largest file that is read: 44 million hashes."""

_HEADER = struct.Struct("<8sBB2x4I")
_MAGIC, _VERSION = b"DFGROUPS", 1
_BYTES = 6  # of each hash
_KIND = np.dtype(">u8")

Hashes = NDArray[np.uint64]
"""The first 6 bytes of SHA-256 digests as numbers, ``uint64 [N]``, ascending and each once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How much of some data a model was trained on.

    Attributes:
        count: Number of groups that trained the model, by their name or by the bytes of a file.
        total: Number of all groups.
        names: Names of the groups that did, in the order of the data.
        validated: Number of the other groups that weights were selected or calibrated by.
        known: Whether the model says what it was trained on; otherwise ``count`` is 0.
        complete: Whether it says all of it; a model that was trained on from one that does not say it, knows only its
            own part.
    """

    count: int
    total: int
    names: tuple[str, ...] = ()
    validated: int = 0
    known: bool = True
    complete: bool = True

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def share(self) -> float:
        """Share of the groups that trained the model, in [0, 1]."""
        return self.count / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainingGroups:
    """Hashes of the groups and files that trained a model, and of those that validated it.

    Attributes:
        trained: Groups that the weights, or those that they started from, were trained on.
        validated: Other groups, by which weights were selected and calibrated.
        trained_files: Files of the groups in ``trained``, as far as they were read.
        validated_files: Files of the groups in ``validated``.
        complete: Whether nothing else trained the model.
    """

    trained: Hashes
    validated: Hashes
    trained_files: Hashes
    validated_files: Hashes
    complete: bool = field(default=True, kw_only=True)

    @classmethod
    def of(
        cls,
        trained: Iterable[str],
        validated: Iterable[str],
        trained_files: Iterable[int] = (),
        validated_files: Iterable[int] = (),
    ) -> TrainingGroups:
        """Make it of the names of groups, and of the hashes of files (:func:`hash_of_file`)."""
        groups = [np.unique(_numbers(map(hash_of_group, names))) for names in (trained, validated)]
        files = [np.unique(_numbers(hashes)) for hashes in (trained_files, validated_files)]
        return cls(groups[0], _without(groups[1], groups[0]), files[0], _without(files[1], files[0]))

    def after(self, start: TrainingGroups | None) -> TrainingGroups:
        """Return this together with what the weights were trained on from which the model started.

        Args:
            start: What is known of those weights; ``None`` where nothing is.
        """
        if start is None:
            return TrainingGroups(*self._hashes(), complete=False)
        return _joined(self, start)

    def seen(self, groups: Iterable[str], files: Iterable[tuple[str, int]] = ()) -> Seen:
        """Return how many of some groups trained the model.

        Args:
            groups: Names of the groups; each may be there many times.
            files: Group of each file and the hash of its bytes (:func:`hash_of_file`), as far as they are known.
        """
        names = list(dict.fromkeys(groups))
        hashes, pairs = _numbers(map(hash_of_group, names)), list(files)
        contents = _numbers(content for _, content in pairs)

        def among(groups: Hashes, files: Hashes) -> set[str]:
            by_content = {pairs[place][0] for place in np.flatnonzero(np.isin(contents, files))}
            return by_content | {names[place] for place in np.flatnonzero(np.isin(hashes, groups))}

        trained = among(self.trained, self.trained_files)
        validated = among(self.validated, self.validated_files) - trained
        shown = tuple(name for name in names if name in trained)
        return Seen(len(trained), len(names), shown, len(validated), complete=self.complete)

    def to_bytes(self) -> bytes:
        """Return the content of the file: a header, and the hashes of 6 bytes each."""
        parts = self._hashes()
        header = _HEADER.pack(_MAGIC, _VERSION, self.complete, *map(len, parts))
        rows = (part.astype(_KIND).view(np.uint8).reshape(-1, 8)[:, 8 - _BYTES :] for part in parts)
        return header + b"".join(row.tobytes() for row in rows)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            DeepfakeError: It cannot be written.
        """
        write_atomic(path, self.to_bytes())

    def _hashes(self) -> tuple[Hashes, ...]:
        return self.trained, self.validated, self.trained_files, self.validated_files


def read_groups(path: Path) -> TrainingGroups:
    """Read a file that :meth:`TrainingGroups.save` wrote; it may come from anywhere.

    Raises:
        ArtifactCorrupt: It cannot be read, is larger than :data:`LIMIT`, is no such file, or is damaged.
    """
    try:
        size = path.stat().st_size
        if size > LIMIT:
            raise ArtifactCorrupt(f"{path}: {size} bytes, and at most {LIMIT} are read; install the package again")
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactCorrupt(f"{path}: cannot be read ({error.strerror}); install the package again") from error
    try:
        return _parsed(content)
    except ValueError as error:
        raise ArtifactCorrupt(f"{path}: no list of training groups: {error}; install the package again") from error


def hash_of_group(name: str) -> int:
    """Return the hash by which a group is found again: the first 6 bytes of the SHA-256 of its name."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:_BYTES], "big")


def hash_of_file(digest: str) -> int:
    """Return the hash by which a file is found again: the first 6 bytes of its SHA-256, given as a hex digest."""
    return int(digest[: 2 * _BYTES], 16)


def joined(parts: Iterable[TrainingGroups | None]) -> TrainingGroups | None:
    """Return what trained any of several models, such as the members of an ensemble; ``None`` if none of them says it.

    Args:
        parts: What each model says; ``None`` for one that does not say it, so that the result is not complete.
    """
    given = list(parts)
    known = [part for part in given if part is not None]
    if not known:
        return None
    whole = known[0]
    for part in known[1:]:
        whole = _joined(whole, part)
    return whole if len(known) == len(given) else whole.after(None)


def _joined(one: TrainingGroups, other: TrainingGroups) -> TrainingGroups:
    trained, validated, files, held = map(np.union1d, one._hashes(), other._hashes())
    parts = (trained, _without(validated, trained), files, _without(held, files))
    return TrainingGroups(*parts, complete=one.complete and other.complete)


def _parsed(content: bytes) -> TrainingGroups:
    if len(content) < _HEADER.size:
        raise ValueError("it is too short")
    magic, version, complete, *counts = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError("it begins with something else")
    if version != _VERSION:
        raise ValueError(f"it has version {version}, and version {_VERSION} is read")
    if len(content) != _HEADER.size + _BYTES * sum(counts):
        raise ValueError(f"{len(content)} bytes do not hold {sum(counts)} hashes")
    rows = np.zeros((sum(counts), 8), np.uint8)
    rows[:, 8 - _BYTES :] = np.frombuffer(content, np.uint8, offset=_HEADER.size).reshape(-1, _BYTES)
    parts = np.split(rows.view(_KIND).ravel().astype(np.uint64), np.cumsum(counts)[:-1])
    if not all(bool(np.all(part[1:] > part[:-1])) for part in parts):
        raise ValueError("its hashes are not in order")
    if complete not in (0, 1):
        raise ValueError("its header is damaged")
    return TrainingGroups(*parts, complete=bool(complete))


def _numbers(values: Iterable[int]) -> Hashes:
    return np.fromiter(values, np.uint64)


def _without(hashes: Hashes, others: Hashes) -> Hashes:
    found: Hashes = np.setdiff1d(hashes, others, assume_unique=True)
    return found
