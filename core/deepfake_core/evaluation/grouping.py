"""Group samples by a value, in one pass over the samples however many values there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake_core.datasets.sources import shared_reals


def places(values: ArrayLike) -> dict[Any, NDArray[np.intp]]:
    """Return the places of each distinct one of N values, ``intp [n]`` ascending; the values are in their order."""
    distinct, code = np.unique(np.asarray(values), return_inverse=True)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(distinct)))
    return dict(zip(distinct.tolist(), np.split(order, ends[:-1]), strict=False))


def places_by_source(
    source: ArrayLike, fake: ArrayLike, beside: Mapping[str, Sequence[str]] | None = None
) -> dict[str, NDArray[np.intp]]:
    """Return the places of the samples that each source is measured on, ``intp [n]``.

    To the fakes of a part of a collection belong the real samples of the collection, and to those of a source that has
    neither real samples nor a collection those that stand beside them
    (:func:`~deepfake_core.datasets.sources.shared_reals`).

    Args:
        source: Source of each of N samples.
        fake: Labels ``[N]``; 1 is fake.
        beside: Sources whose real samples stand beside the fakes of a source that has none.
    """
    found, label = places(source), np.asarray(fake)
    reals = {name: real for name, here in found.items() if len(real := here[label[here] == 0])}
    for name, shared in shared_reals(reals, found, beside).items():
        found[name] = np.concatenate([*(reals[part] for part in shared), found[name]])
    return found


def codes(names: Sequence[str]) -> NDArray[np.intp]:
    """Return the number of each of N names, ``intp [N]``: its rank among the distinct names.

    Numbers take the place of names where samples are grouped many times, because they are sorted much faster and need
    less memory.
    """
    rank = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.fromiter((rank[name] for name in names), np.intp, len(names))
