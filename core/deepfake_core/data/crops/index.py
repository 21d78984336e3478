"""Index of a store of crops: the arrays that join the parts of all shards."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.splits import families
from deepfake_core.datasets.crop_store.members import REMEDY
from deepfake_core.datasets.crop_store.store import COLUMNS, INDEX, NAMED
from deepfake_core.errors import TrainingDataError
from deepfake_registry.files import atomic_path

PARTS = "parts"
"""Folder of the parts, within the folder of a store that is not complete."""

NUMBERS = ("offset", "length", "crc", "size", "box", "fake", "split", "frame", "moving")
"""Numbers of a row."""


def write_index(folder: Path, rows: int) -> dict[str, dict[str, int]]:
    """Join the parts into the arrays of the index, and return the number of rows of each source and class.

    Memory grows with the number of groups, not with the number of rows.

    Args:
        folder: Folder of the store.
        rows: Number of rows in all parts.
    """
    with ExitStack() as stack:
        arrays = {}
        for name, (dtype, shape) in COLUMNS.items():
            path = stack.enter_context(atomic_path(folder / INDEX / f"{name}.npy"))
            arrays[name] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(rows, *shape))
        names = {name: stack.enter_context(_NameWriter(folder / INDEX, name)) for name in NAMED}
        videos: dict[str, int] = {}
        first, previous = 0, None
        for number, part in enumerate(read_parts(folder)):
            here = slice(first, first + len(part["fake"]))
            for name in NUMBERS:
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
    """Return the code of the family of every group, indexed by the group's code."""
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
    """Writer of two files: one holds names one after another, the other the position where each name ends."""

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
        """Return the number of a name, which is appended if it is new."""
        code = self.codes.setdefault(text, len(self.codes))
        if code == len(self.ends):
            self.append(text)
        return code


def read_parts(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the content of the parts in order, up to the first part that is missing."""
    for number in count():
        path = folder / PARTS / f"{number:06d}.npz"
        if not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as stored:
                part = {name: stored[name] for name in NUMBERS}
                yield {**part, **json.loads(stored["about"].tobytes())}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise TrainingDataError(f"{path}: cannot be read; {REMEDY} ({error})") from error
