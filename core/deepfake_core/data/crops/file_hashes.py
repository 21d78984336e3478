"""The hashes of the files that a store was made of, as far as they were read when it was made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.fact_cache import read_facts
from deepfake_core.datasets.crop_store.store import HASHES, INDEX, CropStore
from deepfake_core.discovery.training_groups import Hashes, hash_of_file

PACKED = f"{INDEX}/files.npy"
"""Member of a pack with the hashes, which in a store's folder are those of the cache of facts about its files."""

_AT_ONCE = 4096


def file_hashes(store: CropStore) -> Hashes:
    """Return the hash of the file of each code in ``store.origins``, ``uint64 [F]``, and 0 where it is not known.

    They are known of files that were read whole when their faces were cut, and for a pack if they were when it was
    made.
    """
    names = store.origin_names
    if store.members.exists(PACKED):
        packed = store.members.array(PACKED)
        return (
            packed if packed.shape == (len(names),) and packed.dtype == np.uint64 else np.zeros(len(names), np.uint64)
        )
    found = np.zeros(len(names), np.uint64)
    # Numbers in place of texts: a store may be made of millions of files.
    keys = np.fromiter((hash(names[code]) for code in range(len(names))), np.int64, len(names))
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    facts = read_facts(store.folder / HASHES)
    while part := list(islice(facts, _AT_ONCE)):
        paths = [(hash(path), number) for number, (place, _) in enumerate(part) for path in _possible_names(place)]
        wanted, row = (np.array(column, np.int64) for column in zip(*paths, strict=True))
        at = np.searchsorted(ordered, wanted)
        hit = (at < len(ordered)) & (ordered[np.minimum(at, len(ordered) - 1)] == wanted)
        digests = np.array([_hash(text) for _, text in part], np.uint64)
        found[order[at[hit]]] = digests[row[hit]]
    return found


def files_of(store: CropStore, rows: NDArray[np.intp]) -> Iterator[tuple[str, int]]:
    """Yield the group and the hash of each file that some rows of a store were made from, where it is known."""
    codes, first = np.unique(store.origins[rows], return_index=True)
    hashes = file_hashes(store)[codes]
    for row, content in zip(rows[first].tolist(), hashes.tolist(), strict=True):
        if content:
            yield store.group_names[int(store.groups[row])], content


def _hash(facts: str) -> int:
    """Return the hash in the facts about a file; 0 where they have none."""
    try:
        return hash_of_file(json.loads(facts)["sha256"] or "0")
    except (ValueError, LookupError, TypeError):
        return 0


def _possible_names(place: bytes) -> Iterator[str]:
    """Yield the names that a file may have in a store, whose dataset may begin at any folder above it."""
    path, member, _ = os.fsdecode(place).split("\0")
    tail = f"!{member}" if member else ""
    parts = path.replace(os.sep, "/").split("/")
    for first in range(len(parts)):
        yield "/".join(parts[first:]) + tail
