"""Real faces of similar shape, which are blended with one another."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track

COUNT = 40
"""Number of similar faces that are kept for each face."""

# Numbers in which a shape is described for the search, and faces from which these are learned.
_DIMENSIONS, _SAMPLE = 12, 20_000
# Most faces of one group that can be found: the frames of a video are similar, and one of them is enough.
_OF_GROUP = 4
_BLOCK = 1 << 13


def write_neighbours(
    path: Path,
    points: NDArray[np.float16],
    sizes: NDArray[np.uint16],
    fake: NDArray[np.int8],
    groups: NDArray[np.int32],
    *,
    workers: int = 1,
) -> None:
    """Write the rows of the real faces whose shape is the most similar to that of each real face.

    The ``.npy`` file holds ``int32 [N, 40]``, the most similar face first. Each face of a row belongs to another group,
    and none to the row's own; -1 stands where there are no more. Rows of fakes and rows without landmarks have -1 only.
    Shapes are compared by their landmarks in pixels, centred and scaled, without what few principal components leave
    out, and only some faces of a group can be found. The time is O(N log N).

    Args:
        path: File to write.
        points: Landmarks as shares of the image's sides, ``float16 [N, P, 2]``; NaN where there are none.
        sizes: Height and width of each image in pixels, ``uint16 [N, 2]``.
        fake: Ground truth, ``int8 [N]``: 1 for fake.
        groups: Group of each row, ``int32 [N]``.
        workers: Number of threads.
    """
    from sklearn.neighbors import KDTree

    rows = np.flatnonzero((fake == 0) & ~np.isnan(points[:, 0, 0]))
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<i4", "fortran_order": False, "shape": (len(points), COUNT)}
        )
        if len(rows) < 2:
            stream.write(np.full((len(points), COUNT), -1, np.int32).tobytes())
            return
        reduced = _Components(points, sizes, rows)
        known = rows[_few_of_each(groups[rows])]
        tree = KDTree(reduced(known))
        # Even if all faces of some groups come first, so many hold enough groups besides the row's own.
        most = int(np.unique(groups[known], return_counts=True)[1].max())
        count = min(len(known), (COUNT + 1) * most)

        def block(start: int) -> NDArray[np.int32]:
            found = np.full((min(_BLOCK, len(points) - start), COUNT), -1, np.int32)
            here = rows[slice(*np.searchsorted(rows, (start, start + _BLOCK)))]
            if len(here):
                near = known[tree.query(reduced(here), count, return_distance=False)]
                found[here - start] = _one_of_each(near, groups[near], groups[here])
            return found

        starts = range(0, len(points), _BLOCK)
        with closing(ordered_map(block, starts, workers=workers)) as blocks:
            for found in track(blocks, "finding similar faces", total=len(starts)):
                stream.write(found.tobytes())


class _Components:
    """Principal components of shapes, which a sample of them determines.

    Args:
        points: As for :func:`write_neighbours`.
        sizes: As for :func:`write_neighbours`.
        rows: Rows with landmarks, of which the sample is taken, ``intp [n]``.
    """

    def __init__(self, points: NDArray[np.float16], sizes: NDArray[np.uint16], rows: NDArray[np.intp]) -> None:
        self._points, self._sizes = points, sizes
        sample = self._shapes(rows[:: -(-len(rows) // _SAMPLE)])
        self._mean = sample.mean(0)
        self._axes = np.linalg.eigh(np.cov(sample - self._mean, rowvar=False))[1][:, : -_DIMENSIONS - 1 : -1]

    def __call__(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the components of n rows, ``float64 [n, D]``: what the tree keeps without a copy."""
        reduced = np.empty((len(rows), self._axes.shape[1]))
        for start in range(0, len(rows), _BLOCK):
            reduced[start : start + _BLOCK] = (self._shapes(rows[start : start + _BLOCK]) - self._mean) @ self._axes
        return reduced

    def _shapes(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the centred and scaled shapes of n rows, ``float32 [n, 2 · P]``."""
        return normed(self._points[rows].astype(np.float32) * self._sizes[rows][:, None, ::-1])


def normed(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre and scale shapes ``float32 [n, P, 2]``, and return them as rows ``float32 [n, 2·P]``."""
    shapes = points - points.mean(1, keepdims=True)
    shapes /= np.linalg.norm(shapes, axis=(1, 2), keepdims=True) + 1e-6
    return np.asarray(shapes.reshape(len(points), -1))


def _few_of_each(groups: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the places of at most :data:`_OF_GROUP` rows of each group, evenly spread, in ascending order."""
    order = np.argsort(groups, kind="stable")
    counts = np.unique(groups, return_counts=True)[1]
    place = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    total = np.repeat(counts, counts)
    few = np.minimum(total, _OF_GROUP)
    return np.sort(order[(place + 1) * few // total > place * few // total])


def _one_of_each(near: NDArray[np.intp], groups: NDArray[np.int32], own: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep the first row of each group besides the own one, ``int32 [n, 40]``, padded with -1.

    Args:
        near: Rows in the order of their similarity, ``intp [n, k]``.
        groups: Their groups, ``int32 [n, k]``.
        own: The group of each row whose neighbours they are, ``int32 [n]``.
    """
    order = np.argsort(groups, axis=1, kind="stable")
    ordered = np.take_along_axis(groups, order, 1)
    first = np.ones(groups.shape, bool)
    np.put_along_axis(first, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], 1)
    first &= groups != own[:, None]
    # Those that are kept come first, in their order.
    kept = np.argsort(~first, axis=1, kind="stable")[:, :COUNT]
    result = np.full((len(near), COUNT), -1, np.int32)
    result[:, : kept.shape[1]] = np.where(np.take_along_axis(first, kept, 1), np.take_along_axis(near, kept, 1), -1)
    return result
