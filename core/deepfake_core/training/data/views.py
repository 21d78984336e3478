"""Images and clips of a store of crops exactly as the detector sees them, for validation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from deepfake_core.datasets.crop_store.margin import check_margin
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.data.videos import Videos, clip_of
from deepfake_registry.manifest import PreprocessSpec


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
