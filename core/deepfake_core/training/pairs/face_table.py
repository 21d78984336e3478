"""The table of a dataset's faces, and the format of the stored crops."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.splits import held_out
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize

STORE_SIDE = 320
"""Side of a stored crop in pixels; a multiple of 32, so that the autoencoders take a whole crop."""

STORE_MARGIN = 1.7
"""Crop margin of the stored crops (side over the longer side of the face box); it leaves room for crop jitter."""

STORE_SPEC = PreprocessSpec(
    crop=FaceCrop(margin=STORE_MARGIN),
    resize=Resize(height=STORE_SIDE, width=STORE_SIDE, interpolation="bicubic"),
    normalize=Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
)


@dataclass(frozen=True)
class FaceTable:
    """One face of each usable picture of a dataset.

    Attributes:
        paths: Names of the files ``str [N]``, as :func:`~deepfake_core.data.naming.relative_name` returns them.
        fake: Labels ``int8 [N]``; 1 is fake.
        sources: Source of each picture, ``str [N]``.
        groups: Video, sequence or other group of each picture, ``str [N]``.
        families: Family of each picture, ``str [N]``: groups that are connected through shared identities, and that
            splits must not share.
        boxes: Face boxes ``float32 [N, 4]``: x, y, width and height in pixels of the picture.
        points: Landmarks ``float32 [N, P, 2]``: x and y in pixels of the stored crop.
        digests: sha256 of the bytes in which each face was found, as a hex digest, ``str [N]``; may be empty.
        rejected: Names of the files that were left out, with the reason.
    """

    paths: NDArray[np.str_]
    fake: NDArray[np.int8]
    sources: NDArray[np.str_]
    groups: NDArray[np.str_]
    families: NDArray[np.str_]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    digests: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, np.str_))
    rejected: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def save(self, path: Path) -> None:
        """Write the table to an ``.npz`` file, atomically."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                paths=self.paths,
                fake=self.fake,
                sources=self.sources,
                groups=self.groups,
                families=self.families,
                boxes=self.boxes,
                points=self.points.astype(np.float16),
                digests=self.digests,
                rejected=np.array(json.dumps(self.rejected)),
            )

    @classmethod
    def read(cls, path: Path) -> FaceTable:
        """Read a table that :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                paths=stored["paths"],
                fake=stored["fake"],
                sources=stored["sources"],
                groups=stored["groups"],
                families=stored["families"],
                boxes=stored["boxes"],
                points=stored["points"].astype(np.float32),
                digests=stored["digests"],
                rejected=tuple((path, reason) for path, reason in json.loads(str(stored["rejected"]))),
            )


def split_by_group(table: FaceTable, validation_share: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows for training ``intp [n]`` and for validation ``intp [m]``.

    Within each source, whole families are held out for validation. The hashes of their names decide which.

    Args:
        table: Faces to split.
        validation_share: Fraction of each source to hold out.
    """
    validation = held_out(table.families, table.sources, validation_share)
    return np.flatnonzero(~validation), np.flatnonzero(validation)
