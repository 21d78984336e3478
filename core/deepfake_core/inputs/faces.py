"""Face finder: YuNet (Wu, Peng & Yu 2023) run by OpenCV, with weights that are part of this package."""

from __future__ import annotations

import threading
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np

from deepfake_core.errors import ArtifactCorrupt
from deepfake_core.inputs.boxes import Box, Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "face_detection_yunet_2023mar.onnx"
"""File of the weights, in the folder ``weights`` of this package."""

# Two boxes that overlap by more than this (intersection over union) are one face.
_NMS_OVERLAP = 0.3
# YuNet was trained on faces of about 10 to 300 px: a second search at this size finds a face that fills the image, and
# smaller images are enlarged to it.
_SECOND_LOOK_SIDE = 192
_SECOND_LOOK_BORDER = 48
# On an image of at most 32 px in width or height, OpenCV 4.14 reads memory that nothing was written to, and may return
# any boxes with any confidence.
_LEAST_SEARCHED = 64
# Below this side in pixels a face holds no evidence, and most detections are not faces.
_MIN_FACE_SIDE = 16
# Side in pixels of the searched image below which some faces are missed; below about 9, none is found. So many faces
# of that size are a crowd that holds more.
_SMALLEST_SIDE = 12
_CROWD = 5
# A face below half the size of the largest one is mostly blurred background or a mistake, so it needs more confidence.
_SMALL_FACE_RATIO = 0.5
_SMALL_FACE_CONFIDENCE = 0.8


class Found(NamedTuple):
    """Result of a search for faces.

    Attributes:
        faces: Faces, the most confident first.
        tiny: Number of faces that were dropped because a side is below 16 px.
        uncertain: Number of small areas that were dropped because the finder is not certain that they are faces.
        is_crowd: Whether several faces are about as small as the smallest that can be found, so that there may be more.
    """

    faces: list[Face]
    tiny: int = 0
    uncertain: int = 0
    is_crowd: bool = False


class FaceFinder:
    """Face finder for RGB images; threads may share it, and each of them gets a native detector of its own.

    It sets OpenCV to one thread for the whole process: more threads do not speed up the network at this size, and
    callers prepare several images in parallel instead.

    Args:
        min_confidence: Score in [0, 1] below which detections are dropped.
        max_side: Longer side in pixels to which larger images are reduced before the search. Faces smaller than about
            ``10 / max_side`` of the image's longer side are not found.
    """

    def __init__(self, min_confidence: float = 0.6, max_side: int = 640) -> None:
        self.min_confidence = min_confidence
        self.max_side = max_side
        self._local = threading.local()
        cv2.setNumThreads(1)

    def __reduce__(self) -> tuple[Any, ...]:
        # A native detector cannot be sent to another process, which makes its own.
        return FaceFinder, (self.min_confidence, self.max_side)

    def find(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """Find faces in ``uint8 [H, W, 3]`` RGB; the most confident comes first, in pixels of this image.

        See :meth:`search`, which also counts what was dropped.
        """
        return self.search(pixels).faces

    def search(self, pixels: NDArray[np.uint8]) -> Found:
        """Find faces in ``uint8 [H, W, 3]`` RGB, in pixels of this image.

        Faces with a side below 16 px are dropped, and an image with such a side holds none. Faces smaller than half
        of the largest one are dropped if their confidence is below 0.8. If nothing is found, the image is searched
        once more at a small scale with a border around it, which finds faces that fill the image.

        Raises:
            ArtifactCorrupt: The face finder's packaged weights cannot be read.
        """
        height, width = pixels.shape[:2]
        if min(height, width) < _MIN_FACE_SIDE:
            return Found([])  # a strip of pixels holds no face, and the network would return noise
        longer = max(height, width)
        found: list[Face] = []
        if longer >= _SECOND_LOOK_SIDE:
            found = self._detect(pixels, min(1.0, self.max_side / longer), border=0)
        faces = _large(found)
        if not faces:
            found = self._detect(pixels, _SECOND_LOOK_SIDE / longer, border=_SECOND_LOOK_BORDER) or found
            faces = _large(found)
        certain = _without_uncertain(faces)
        least = _SMALLEST_SIDE * max(1.0, longer / self.max_side)
        is_crowd = sum(_side(face) < least for face in found) >= _CROWD
        return Found(certain, len(found) - len(faces), len(faces) - len(certain), is_crowd)

    def _detect(self, pixels: NDArray[np.uint8], scale: float, border: int) -> list[Face]:
        """Search ``uint8 [H, W, 3]`` RGB for faces at ``scale`` with a black border of ``border`` scaled pixels."""
        height, width = pixels.shape[:2]
        if scale != 1.0:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            pixels = cast("NDArray[np.uint8]", cv2.resize(pixels, size, interpolation=kernel))
        scale_x, scale_y = pixels.shape[1] / width, pixels.shape[0] / height
        if border:
            pixels = np.pad(pixels, ((border, border), (border, border), (0, 0)))
        below, right = (max(0, _LEAST_SEARCHED - side) for side in pixels.shape[:2])
        if below or right:
            pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)))
        detector = self._detector()
        detector.setInputSize((pixels.shape[1], pixels.shape[0]))
        rows = detector.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        faces = []
        # A row holds x, y, width, height, five landmarks as x, y, and the confidence.
        for row in [] if rows is None else rows.tolist():
            xs = [(x - border) / scale_x for x in row[0:14:2]]
            ys = [(y - border) / scale_y for y in row[1:14:2]]
            box = Box(xs[0], ys[0], row[2] / scale_x, row[3] / scale_y)
            faces.append(Face(box, min(row[14], 1.0), tuple(zip(xs[2:], ys[2:], strict=True))))
        return sorted(faces, key=lambda face: -face.confidence)

    def _detector(self) -> Any:
        """Return the native detector of the calling thread, which is made on its first use."""
        if not hasattr(self._local, "detector"):
            weights = resources.files(__package__).joinpath("weights", WEIGHTS)
            try:
                # Loaded from memory, so that it works in a folder of any name and in a zipped package.
                model = _as_buffer(weights.read_bytes())
                self._local.detector = cv2.FaceDetectorYN.create(
                    "onnx", model, _as_buffer(b""), (320, 320), self.min_confidence, _NMS_OVERLAP
                )
            except (OSError, cv2.error) as error:
                raise ArtifactCorrupt(
                    f"{weights}: the face finder's weights cannot be read; reinstall deepfake-core ({error})"
                ) from error
        return self._local.detector


def _as_buffer(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _large(faces: list[Face]) -> list[Face]:
    return [face for face in faces if min(face.box.width, face.box.height) >= _MIN_FACE_SIDE]


def _without_uncertain(faces: list[Face]) -> list[Face]:
    """Return the faces without uncertain ones below half the size of the largest one."""
    if not faces:
        return faces
    floor = _SMALL_FACE_RATIO * max(_side(face) for face in faces)
    return [face for face in faces if _side(face) >= floor or face.confidence >= _SMALL_FACE_CONFIDENCE]


def _side(face: Face) -> float:
    return max(face.box.width, face.box.height)
