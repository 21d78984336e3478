"""The clips of the videos in a store of crops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_registry.manifest import Clip, PreprocessSpec


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
