"""Group samples by a value, in one pass over the samples however many values there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def places(values: ArrayLike) -> dict[Any, NDArray[np.intp]]:
    """Return the places of each distinct one of N values, ``intp [n]`` ascending; the values are in their order."""
    distinct, code = np.unique(np.asarray(values), return_inverse=True)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(distinct)))
    return dict(zip(distinct.tolist(), np.split(order, ends[:-1]), strict=False))


def codes(names: Sequence[str]) -> NDArray[np.intp]:
    """Return the number of each of N names, ``intp [N]``: its rank among the distinct names.

    Numbers take the place of names where samples are grouped many times, because they are sorted much faster and need
    less memory.
    """
    rank = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.fromiter((rank[name] for name in names), np.intp, len(names))
