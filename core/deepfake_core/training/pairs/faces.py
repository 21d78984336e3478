"""The square crops that pairs are made from, read from a store of crops when they are needed."""

from __future__ import annotations

import shlex
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.training.data.pictures import resample
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize

SIDE = 320
"""Side of a square crop in pixels; a multiple of 32, so that the autoencoders take a whole crop."""

MARGIN = 1.7
"""Crop margin of the square crops (side over the longer side of the face box); it leaves room for crop jitter."""

_BLOCK = 1 << 13
# Largest distance of a stored image from the square around its box, in pixels: it was rounded when it was cut.
_ROUNDING = 2


class Faces:
    """Square crops of the faces of a store, with their landmarks. It can be sent to other processes.

    A crop has the margin :data:`MARGIN` around the stored box. What lies beyond the stored image is reflected, and
    smaller faces are enlarged.

    Args:
        store: Store of face crops with landmarks.
        side: Side of a crop in pixels.

    Attributes:
        fake: Ground truth, ``int8 [N]``: 1 for fake, 0 for real.
        sources: Codes in ``source_names``, ``int32 [N]``.
        families: Codes of the families in the store, ``int32 [N]``.
        groups: Codes of the groups in the store, ``int32 [N]``.
        source_names: Names of the sources.
        points: Landmarks in [0, 1] of the crop: ``points[rows]`` is ``float32 [n, P, 2]``, x and y.

    Raises:
        TrainingDataError: The store has no landmarks, or holds whole pictures.
    """

    def __init__(self, store: CropStore, side: int = SIDE) -> None:
        if store.spec.crop != "face":
            raise TrainingDataError(
                f"{store.folder}: holds whole pictures, but pairs are made from faces; prepare the dataset again with "
                "--crop face"
            )
        if store.points is None:
            where = "crops:STORE" if store.packed else f"crops:{store.folder}"
            whose = "find those of the store that it was made of, and pack that again" if store.packed else "find them"
            raise TrainingDataError(
                f"{store.folder}: has no face landmarks, from which pairs are made; {whose}: "
                f"dfbench data prepare {shlex.quote(where)} --landmarks"
            )
        self.store, self.side = store, side
        self.fake, self.sources, self.source_names = store.fake, store.sources, store.source_names
        self.families, self.groups = store.families, store.groups
        self.points = Points(self, store.points)
        self._spec = PreprocessSpec(
            crop=FaceCrop(margin=MARGIN),
            resize=Resize(height=side, width=side, interpolation="bicubic"),
            normalize=Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        )

    def __len__(self) -> int:
        return len(self.fake)

    def __reduce__(self) -> tuple[type[Faces], tuple[CropStore, int]]:
        return Faces, (self.store, self.side)

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Whether a row has landmarks, and none of them is far outside of its crop: ``bool [N]``."""
        usable = np.zeros(len(self), bool)
        for start in range(0, len(self), _BLOCK):
            # A comparison with NaN is false.
            usable[start : start + _BLOCK] = (np.abs(self.points[start : start + _BLOCK] - 0.5) <= 1).all((1, 2))
        return usable

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """Return the crop of a row, ``uint8 [side, side, 3]`` RGB.

        Raises:
            InputError: The stored image is damaged.
        """
        image = self.store.read(row)
        height, width = image.shape[:2]
        left, top, side = self.squares(slice(row, row + 1))[0].tolist()
        if side > 2 * max(height, width, self.side):
            return prepare_crop(image, Box(*self.store.boxes[row].tolist()), self._spec)
        beyond = (-top, top + side - height, -left, left + side - width)  # the edges of the image, if positive
        if max(beyond) > 0:
            above, below, before, behind = (max(0, pixels) for pixels in beyond)
            border = cv2.BORDER_REFLECT_101
            image = np.asarray(cv2.copyMakeBorder(image, above, below, before, behind, border), np.uint8)
            top, left = top + above, left + before
        image = image[top : top + side, left : left + side]
        if side < self.side:
            return np.asarray(cv2.resize(image, (self.side, self.side), interpolation=cv2.INTER_CUBIC), np.uint8)
        return resample(image, self._spec.resize)

    def squares(self, rows: slice | NDArray[np.intp]) -> NDArray[np.int64]:
        """Return left, top and side of the crops of n rows in pixels of the stored images, ``int64 [n, 3]``."""
        boxes, sizes = self.store.boxes[rows].astype(np.float64), self.store.sizes[rows].astype(np.float64)
        found: NDArray[np.float64] = np.empty((len(boxes), 3))
        found[:, 2] = np.maximum(1, np.rint(MARGIN * boxes[:, 2:].max(1)))
        found[:, :2] = np.rint(boxes[:, :2] + boxes[:, 2:] / 2 - found[:, 2:] / 2)
        found[np.isnan(found).any(1)] = 0, 0, 1  # there is no box
        # The stored image is the square already, but for the rounding of its box.
        whole = (np.abs(found[:, :2]) < _ROUNDING).all(1) & (np.abs(found[:, 2:] - sizes) <= _ROUNDING).all(1)
        whole &= sizes[:, 0] == sizes[:, 1]
        found[whole, :2], found[whole, 2] = 0, sizes[whole, 0]
        return found.astype(np.int64)


class Points:
    """Landmarks of faces in [0, 1] of their crops, ``[N, P, 2]``, computed when they are read.

    Args:
        faces: Faces whose landmarks these are.
        stored: The same landmarks as shares of the sides of the stored images, ``float16 [N, P, 2]``.
    """

    def __init__(self, faces: Faces, stored: NDArray[np.float16]) -> None:
        self._faces, self._stored = faces, stored
        self.shape: tuple[int, ...] = stored.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return ``float32 [n, P, 2]``, or ``float32 [P, 2]`` for one row; NaN where no landmarks were found."""
        if isinstance(rows, int | np.integer):
            row: NDArray[np.float32] = self[np.array([rows])][0]
            return row
        faces = self._faces
        squares = faces.squares(rows).astype(np.float32)[:, None]
        sizes = faces.store.sizes[rows, ::-1].astype(np.float32)[:, None]
        points: NDArray[np.float32] = self._stored[rows].astype(np.float32)
        points *= sizes
        points -= squares[..., :2]
        points /= squares[..., 2:]
        return points
