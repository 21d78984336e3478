"""Faces with landmarks that lie in memory, for tests of pairs: drawn pictures with some texture."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from deepfake_core.data.crops import face_mesh as mesh
from deepfake_core.errors import InputError
from deepfake_core.testing import draw_face

# Centre and half axes of each part of a face, in parts of the side of its crop.
PARTS = (
    (mesh.OVAL, 0.5, 0.5, 0.28, 0.36),
    (mesh.RIGHT_EYE, 0.39, 0.42, 0.05, 0.025),
    (mesh.LEFT_EYE, 0.61, 0.42, 0.05, 0.025),
    (mesh.RIGHT_BROW, 0.39, 0.35, 0.07, 0.015),
    (mesh.LEFT_BROW, 0.61, 0.35, 0.07, 0.015),
    (mesh.NOSE, 0.5, 0.52, 0.06, 0.1),
    (mesh.LIPS, 0.5, 0.69, 0.1, 0.04),
)


def shape() -> np.ndarray:
    """Landmarks of a plain face, ``float32 [P, 2]`` in [0, 1]."""
    points = np.zeros((len(mesh.POINTS), 2), np.float32)
    for part, x, y, half_x, half_y in PARTS:
        angle = np.linspace(0, 2 * np.pi, len(part), endpoint=False)
        points[mesh.places(part)] = np.stack([x + half_x * np.cos(angle), y + half_y * np.sin(angle)], 1)
    return points


class DrawnFaces:
    """Stand-in for :class:`~deepfake_core.training.pairs.faces.Faces`, two sources with twice as many real ones.

    Args:
        count: Number of faces.
        side: Side of a crop in pixels.
        damaged: Rows that cannot be read.
    """

    def __init__(self, count: int = 60, side: int = 160, damaged: tuple[int, ...] = ()) -> None:
        rng = np.random.default_rng(0)
        self.side, self.damaged, self.reads = side, damaged, []
        rows = np.arange(count)
        self.fake = (rows % 3 == 2).astype(np.int8)
        self.sources, self.source_names = (rows % 2).astype(np.int32), ["a", "b"]
        self.groups = self.families = rows.astype(np.int32)
        self.usable = np.ones(count, bool)
        self.points = shape() + rng.normal(0, 0.005, (count, len(mesh.POINTS), 2)).astype(np.float32)
        self.store = SimpleNamespace(neighbours=None, origin=lambda row: f"face {row}")
        texture = rng.normal(0, 6, (side, side, 1))
        pictures = [np.clip(draw_face(number, side) + np.roll(texture, number, 0), 0, 255) for number in range(8)]
        self._pictures = np.stack(pictures).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.fake)

    def pixels(self, row: int) -> np.ndarray:
        self.reads.append(row)
        if row in self.damaged:
            raise InputError(f"face {row}", "its stored crop is damaged")
        return self._pictures[row % len(self._pictures)]
