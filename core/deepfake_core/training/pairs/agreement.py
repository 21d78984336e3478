"""Numbers of the faces of a store in which the real faces and the fakes of a source are drawn to agree."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.audit.audit import boosted
from deepfake_core.data.audit.features import NAMES, features_of
from deepfake_core.errors import InputError
from deepfake_core.evaluation.probes import FOLDS, out_of_fold
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.data.stores import fingerprint
from deepfake_core.training.pairs.faces import MARGIN, Faces
from deepfake_registry.files import atomic_path

log = logging.getLogger("deepfake.training")

SHARPNESS = ("sharpness_1", "sharpness_2")
"""Numbers whose mean is the sharpness of a face: the energy of its two finest octaves."""

Rows = NDArray[np.intp]
Numbers = NDArray[np.floating]


@dataclass(frozen=True)
class Agreement:
    """What real faces and fakes agree in, as ``pairs.match`` names it.

    Attributes:
        match: ``sharpness``, or ``shortcuts``: the score of a model that tells the classes apart by all numbers of
            :data:`~deepfake_core.data.audit.features.NAMES`. Where both classes have the same distribution of this
            score, nothing of what these numbers say tells them apart (Rosenbaum & Rubin 1983).
        families: Families of the faces, ``int32 [N]``: no score is from a model that was fitted on the same family.
        numbers: Function of rows that returns their numbers, ``float32 [n, F]``; ``nan`` for faces that cannot be read.
    """

    match: Literal["sharpness", "shortcuts"]
    families: NDArray[np.int32]
    numbers: Callable[[Rows], NDArray[np.float32]]

    def __call__(self, fake: Rows, real: Rows) -> tuple[Numbers, Numbers]:
        """Return the number of each fake ``[n]`` and of each real face ``[m]`` of one source.

        A class with few families has no scores from other families: its sharpness is taken instead.
        """
        rows = np.concatenate([fake, real])
        table, label, families = self.numbers(rows), np.arange(len(rows)) < len(fake), self.families[rows]
        few = min(len(np.unique(families[label == one])) for one in (False, True)) < FOLDS
        if self.match == "sharpness" or few:
            values: Numbers = table[:, [NAMES.index(name) for name in SHARPNESS]].mean(1)
        else:
            values = out_of_fold(boosted(0), table, label, families, method="decision_function")
        return values[: len(fake)], values[len(fake) :]


class Measured:
    """The numbers of a store's faces in the detector's crop, which are measured when they are needed and then kept.

    Args:
        faces: Faces of the store.
        size: Side of the detector's input in pixels.
        margin: Crop margin of the detector.
        cache_dir: Folder in which the numbers are kept.
    """

    def __init__(self, faces: Faces, size: int, margin: float, cache_dir: Path) -> None:
        self.faces, self.size, self.share = faces, size, min(1.0, margin / MARGIN)
        key = fingerprint(faces.store.fingerprint, f"{size} {margin} {faces.side} {NAMES}")
        self.file = cache_dir / f"numbers-{key[:16]}.npy"

    def __call__(self, rows: Rows) -> NDArray[np.float32]:
        """Return the numbers of rows, ``float32 [n, F]``; ``nan`` for faces that cannot be read."""
        table = self._kept()
        if len(missing := np.unique(rows[np.isnan(table[rows]).all(1)])):
            work = ordered_map(self._numbers, missing.tolist(), workers=allowed_threads())
            with closing(work) as found:
                for row, numbers in zip(
                    missing, track(found, "measuring faces", total=len(missing), unit="faces"), strict=True
                ):
                    table[row] = numbers
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.file) as path, path.open("wb") as stream:
                np.save(stream, table)
        found_rows: NDArray[np.float32] = table[rows]
        return found_rows

    def _kept(self) -> NDArray[np.float32]:
        shape = (len(self.faces), len(NAMES))
        try:
            kept: NDArray[np.float32] = np.load(self.file)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("%s: cannot be read (%s); the faces are measured again", self.file, error)
        else:
            if kept.shape == shape:
                return kept
        return np.full(shape, np.nan, np.float32)

    def _numbers(self, row: int) -> NDArray[np.float32]:
        try:
            pixels = self.faces.pixels(row)
        except InputError:  # the loop counts and names the face when it draws it
            return np.full(len(NAMES), np.nan, np.float32)
        cut = max(1, round(len(pixels) * self.share))
        edge = (len(pixels) - cut) // 2
        middle = np.ascontiguousarray(pixels[edge : edge + cut, edge : edge + cut])
        size = (self.size, self.size)
        kernel = cv2.INTER_AREA if cut > self.size else cv2.INTER_LINEAR
        return features_of(np.asarray(cv2.resize(middle, size, interpolation=kernel), np.uint8), self.size)
