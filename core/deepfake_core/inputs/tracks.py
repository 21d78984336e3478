"""Follow faces through the frames of a clip by the overlap of their boxes, and interpolate missing boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.crop import scale_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Faces in two frames are the same if their boxes overlap by more than this (intersection over union). Frames are a
# tenth of a second apart, in which a head may move by half of its width.
_LEAST_OVERLAP = 0.2
# A track that was found in a smaller share of the frames is mostly a mistake, or a person who passes by.
_LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Track:
    """One face in all frames of a clip.

    Attributes:
        boxes: Box of the face in every frame, in pixels of the frame. Between frames in which the face was found, the
            box is interpolated linearly; before the first and after the last of them it does not move.
        confidence: Mean of the face finder's scores in [0, 1], over the frames in which the face was found.
        found: Number of frames in which the face was found.
    """

    boxes: tuple[Box, ...]
    confidence: float
    found: int


def follow(faces: Sequence[Sequence[Face]], sizes: Sequence[tuple[int, int]]) -> list[Track]:
    """Connect the faces of a clip's frames to tracks.

    Args:
        faces: Faces that were found in each frame.
        sizes: Height and width of each frame in pixels; they may differ if a stream changes its resolution.

    Returns:
        Tracks of the faces that were found in at least half of the frames, the most confident first.
    """
    tracks: list[dict[int, Face]] = []
    for number, (found, (height, width)) in enumerate(zip(faces, sizes, strict=True)):
        # Boxes are in shares of the frame's size, so that the resolution does not matter.
        here = [Face(scale_box(face.box, 1 / width, 1 / height), face.confidence) for face in found]
        overlaps = _overlaps([track[max(track)].box for track in tracks], [face.box for face in here])
        pairs = sorted(np.argwhere(overlaps > _LEAST_OVERLAP).tolist(), key=lambda pair: -overlaps[*pair])
        taken: set[int] = set()
        continued: set[int] = set()
        for old, new in pairs:
            if old not in continued and new not in taken:
                tracks[old][number] = here[new]
                continued.add(old)
                taken.add(new)
        tracks += [{number: face} for new, face in enumerate(here) if new not in taken]
    kept = [_filled(track, sizes) for track in tracks if len(track) >= _LEAST_SHARE * len(sizes)]
    return sorted(kept, key=lambda track: -track.confidence)


def _filled(track: dict[int, Face], sizes: Sequence[tuple[int, int]]) -> Track:
    known = sorted(track)
    corners = np.array([[box.x, box.y, box.width, box.height] for box in (track[number].box for number in known)])
    every = np.arange(len(sizes))
    moved = np.stack([np.interp(every, known, corners[:, column]) for column in range(4)], axis=1)
    boxes = (
        scale_box(Box(*values), width, height) for values, (height, width) in zip(moved.tolist(), sizes, strict=True)
    )
    return Track(tuple(boxes), sum(face.confidence for face in track.values()) / len(track), len(track))


def _overlaps(ones: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """Return the intersection over union of each of n boxes and each of m others, ``float64 [n, m]``."""
    x, y, width, height = _columns(ones)[:, :, None]
    other_x, other_y, other_width, other_height = _columns(others)[:, None, :]
    wide = np.minimum(x + width, other_x + other_width) - np.maximum(x, other_x)
    high = np.minimum(y + height, other_y + other_height) - np.maximum(y, other_y)
    shared = wide.clip(0) * high.clip(0)
    union = width * height + other_width * other_height - shared
    return np.asarray(shared / union.clip(1e-12), np.float64)


def _columns(boxes: Sequence[Box]) -> NDArray[np.float64]:
    return np.array([(box.x, box.y, box.width, box.height) for box in boxes], np.float64).reshape(-1, 4).T
