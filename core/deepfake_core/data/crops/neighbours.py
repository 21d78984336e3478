"""Faces of similar shape, which are blended with one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 40
"""Number of similar faces that are kept for each face."""


def most_similar(
    points: NDArray[np.float16], sizes: NDArray[np.uint16], fake: NDArray[np.int8], groups: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return the rows of the real faces whose shape is the most similar to that of each real face, ``int32 [N, 40]``.

    Args:
        points: Landmarks as shares of the image's sides, ``float16 [N, P, 2]``; NaN where there are none.
        sizes: Height and width of each image in pixels, ``uint16 [N, 2]``.
        fake: Ground truth, ``int8 [N]``: 1 for fake.
        groups: Group of each row, ``int32 [N]``.
    """
    from sklearn.neighbors import KDTree

    result = np.full((len(points), NEIGHBOURS), -1, np.int32)
    rows = np.flatnonzero((fake == 0) & np.isfinite(points).all((1, 2)))
    shapes = points[rows].astype(np.float32) * sizes[rows][:, None, ::-1]
    shapes = shapes - shapes.mean(1, keepdims=True)
    flat = shapes.reshape(len(rows), -1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    if len(rows) > 1:
        count = min(len(rows), 200)
        nearest = KDTree(flat).query(flat, count, return_distance=False)
        for place, row in enumerate(rows):
            near = rows[nearest[place]]
            near = near[groups[near] != groups[row]]
            first = np.sort(np.unique(groups[near], return_index=True)[1])[:NEIGHBOURS]
            result[row, : len(first)] = near[first]
    return result
