"""Pictures and clips of a store of crops exactly as the detector sees them, for validation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.manifest import Clip, FaceCrop, PreprocessSpec


class Videos:
    """The rows of each video in order of frame.

    Args:
        store: The crops.
        rows: Rows that may be used.
        clip: Length of a clip and distance between its frames.

    Attributes:
        firsts: ``intp [V]``: first row of every video.
    """

    def __init__(self, store: CropStore, rows: NDArray[np.intp], clip: Clip) -> None:
        rows = np.sort(rows)
        videos = store.videos[rows]
        self._rows: NDArray[np.intp] = rows[np.lexsort((store.frames[rows], videos))]
        self._numbers = store.frames[self._rows]
        self._starts = np.append(np.unique(np.sort(videos), return_index=True)[1], len(rows))
        self.firsts: NDArray[np.intp] = self._rows[self._starts[:-1]]
        self._steps = np.arange(clip.length) * clip.stride

    def __len__(self) -> int:
        return len(self.firsts)

    def starts(self, number: int) -> NDArray[np.intp]:
        """Places in a video, from 0, at which a whole clip may begin; only the first where the video is too short.

        Where frames are missing, these are the places after which the fewest are.
        """
        numbers = self._of(number)
        inside = numbers + self._steps[-1] <= numbers[-1]
        if not inside.any():
            return np.zeros(1, np.intp)
        shown = np.searchsorted(numbers, numbers[inside][:, None] + self._steps, side="right")
        distinct = (np.diff(shown, axis=1) > 0).sum(1)
        found: NDArray[np.intp] = np.flatnonzero(inside)[distinct == distinct.max()]
        return found

    def clip(self, number: int, start: int) -> NDArray[np.intp]:
        """Rows of the clip that begins at a place, ``intp [T]``.

        A frame that is missing, or comes after the video's end, is the one before it again.
        """
        numbers = self._of(number)
        places = np.searchsorted(numbers, numbers[start] + self._steps, side="right") - 1
        rows: NDArray[np.intp] = self._rows[self._starts[number] + places]
        return rows

    def middle(self, number: int) -> NDArray[np.intp]:
        """Rows of the clip in the middle of a video, ``intp [T]``."""
        starts = self.starts(number)
        return self.clip(number, int(starts[(len(starts) - 1) // 2]))

    def _of(self, number: int) -> NDArray[np.int32]:
        """Numbers of a video's frames, ascending; their places where they have none."""
        numbers: NDArray[np.int32] = self._numbers[self._starts[number] : self._starts[number + 1]]
        return numbers if numbers[0] >= 0 else np.arange(len(numbers), dtype=np.int32)


class StoreCrops:
    """Rows exactly as the detector sees them, for validation; slicing gives ``uint8 [n, H, W, 3]``.

    Args:
        store: The crops.
        rows: Rows to give, in this order.
        spec: The detector's preprocessing.

    Attributes:
        fake: ``float32 [len(rows)]`` in {0, 1}.

    Raises:
        TrainingDataError: The store's crops are tighter than the detector's.
    """

    def __init__(self, store: CropStore, rows: NDArray[np.intp], spec: PreprocessSpec) -> None:
        check_margin(store, spec)
        self.store, self.rows, self.spec = store, rows, spec
        self.fake = store.fake[rows].astype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | NDArray[np.intp]) -> NDArray[np.uint8]:
        return prepared(self.store, self.rows[which], self.spec)


class StoreClips:
    """The middle clip of every video exactly as the detector sees it; slicing gives ``uint8 [n, T, H, W, 3]``.

    Args:
        store: The crops.
        rows: Rows that may be used.
        spec: The detector's preprocessing, of clips.

    Attributes:
        rows: ``intp [V]``: first row of every video.
        fake: ``float32 [V]`` in {0, 1}.

    Raises:
        TrainingDataError: The store's crops are tighter than the detector's.
    """

    def __init__(self, store: CropStore, rows: NDArray[np.intp], spec: PreprocessSpec) -> None:
        check_margin(store, spec)
        self.store, self.spec = store, spec
        self._videos = Videos(store, rows, clip_of(spec))
        self.rows = self._videos.firsts
        self.fake = store.fake[self.rows].astype(np.float32)

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, which: slice | NDArray[np.intp]) -> NDArray[np.uint8]:
        clips = [self._videos.middle(number) for number in np.arange(len(self))[which]]
        frames = prepared(self.store, np.concatenate(clips), self.spec)
        return frames.reshape(len(clips), -1, *frames.shape[1:])


def prepared(store: CropStore, rows: NDArray[np.intp], spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Rows through the host half of a preprocessing, ``uint8 [len(rows), H, W, 3]``.

    Raises:
        InputError: A row cannot be read.
    """
    out = np.empty((len(rows), *spec.size, 3), np.uint8)

    def fill(place: int) -> None:
        row = int(rows[place])
        out[place] = prepare_crop(store.read(row), store.box(row), spec)

    with ThreadPoolExecutor(allowed_threads()) as pool:
        for _ in pool.map(fill, range(len(rows))):
            pass
    return out


def clip_of(spec: PreprocessSpec) -> Clip:
    """What clips a detector takes.

    Raises:
        TrainingDataError: It takes pictures.
    """
    if spec.clip is None:
        raise TrainingDataError(
            "samples='clips' trains detectors of clips, and this one takes pictures; train it on samples='pictures'"
        )
    return spec.clip


def check_margin(store: CropStore, spec: PreprocessSpec) -> None:
    """Refuse a store that the detector's crops cannot be cut from.

    Raises:
        TrainingDataError: Its crops are tighter than the detector's, or it has faces for whole pictures or the reverse.
    """
    if store.spec.crop == "face" and isinstance(spec.crop, FaceCrop) and spec.crop.margin > store.spec.margin:
        raise TrainingDataError(
            f"{store.folder}: its crops reach {store.spec.margin} times the face, but the detector wants "
            f"{spec.crop.margin}; prepare the dataset again with a larger margin, such as {spec.crop.margin * 1.3:.1f}"
        )
    if store.spec.crop == "face" and not isinstance(spec.crop, FaceCrop):
        raise TrainingDataError(
            f"{store.folder}: it holds cut faces, but the detector takes whole pictures; prepare the dataset again "
            "with crop='whole'"
        )
    if store.spec.crop == "whole" and isinstance(spec.crop, FaceCrop):
        raise TrainingDataError(
            f"{store.folder}: it holds whole pictures without boxes, but the detector takes faces; prepare the dataset "
            "again with crop='face'"
        )
