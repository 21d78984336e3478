"""Images and clips of a store of crops exactly as the detector sees them, for validation."""

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
    """The rows of each video of a store, in the order of its frames.

    Args:
        store: Store of crops.
        rows: ``intp [N]``: rows that may be used.
        clip: Length of a clip and distance between its frames.

    Attributes:
        firsts: ``intp [V]``: first row of each of the V videos.
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
        """Return the positions in a video at which a clip may begin, ``intp [n]``, counted from 0.

        A video that is shorter than a clip has position 0 only. Where frames are missing, the positions are those
        whose clip lacks the fewest.
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
        """Return the rows ``intp [T]`` of the clip that begins at position ``start`` of a video.

        The frame before stands for a frame that is missing or lies beyond the end of the video.
        """
        numbers = self._of(number)
        places = np.searchsorted(numbers, numbers[start] + self._steps, side="right") - 1
        rows: NDArray[np.intp] = self._rows[self._starts[number] + places]
        return rows

    def middle(self, number: int) -> NDArray[np.intp]:
        """Return the rows ``intp [T]`` of the clip in the middle of a video."""
        starts = self.starts(number)
        return self.clip(number, int(starts[(len(starts) - 1) // 2]))

    def _of(self, number: int) -> NDArray[np.int32]:
        """Return the numbers of a video's frames in ascending order, or their positions where they have no numbers."""
        numbers: NDArray[np.int32] = self._numbers[self._starts[number] : self._starts[number + 1]]
        return numbers if numbers[0] >= 0 else np.arange(len(numbers), dtype=np.int32)


class StoreCrops:
    """Images of a store exactly as the detector sees them; a slice is ``uint8 [n, H, W, 3]`` RGB.

    Args:
        store: Store of crops.
        rows: ``intp [N]``: rows of the images, in their order.
        spec: Preprocessing of the detector.

    Attributes:
        fake: Labels ``float32 [N]`` in {0, 1}; 1 is fake.

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
    """The middle clip of each video exactly as the detector sees it; a slice is ``uint8 [n, T, H, W, 3]`` RGB.

    Args:
        store: Store of crops.
        rows: ``intp [N]``: rows that may be used.
        spec: Preprocessing of a detector of clips.

    Attributes:
        rows: ``intp [V]``: first row of each of the V videos.
        fake: Labels ``float32 [V]`` in {0, 1}; 1 is fake.

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
    """Run rows of a store through the host half of a preprocessing; return ``uint8 [len(rows), H, W, 3]`` RGB.

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
    """Return the length of the clips that a detector takes, and the distance between their frames.

    Raises:
        TrainingDataError: The detector takes pictures.
    """
    if spec.clip is None:
        raise TrainingDataError(
            "samples='clips' trains detectors of clips, and this one takes pictures; train it on samples='pictures'"
        )
    return spec.clip


def check_margin(store: CropStore, spec: PreprocessSpec) -> None:
    """Refuse a store from which the detector's crops cannot be cut.

    Raises:
        TrainingDataError: The store's crops are tighter than the detector's; or the store holds faces and the detector
            takes whole pictures, or the reverse.
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
