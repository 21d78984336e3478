"""Positions of faces: boxes, faces that the face finder found, and the position of a face in a frame of a video."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """Rectangle in pixels of the image as shown, after its EXIF orientation was applied.

    Attributes:
        x: Distance of the left edge from the left edge of the image, in pixels.
        y: Distance of the top edge from the top edge of the image, in pixels.
        width: Width in pixels.
        height: Height in pixels.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Face:
    """Face that was found in an image.

    Attributes:
        box: Position of the face.
        confidence: Score of the face finder in [0, 1].
        landmarks: Right eye, left eye, nose tip, right and left mouth corner (right and left as the *person* has
            them), each as ``(x, y)`` in pixels; empty when the face finder gives none.
    """

    box: Box
    confidence: float
    landmarks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class FrameBox:
    """Position of one face in one frame of a clip.

    Attributes:
        number: Number of the frame in the video, from 0. In a video file it follows from the stated frame rate.
        time_s: Time at which the frame is shown, in seconds; ``None`` where the frames are separate images.
        box: Position of the face in pixels of the frame. It is interpolated between two frames in which the face
            was found.
    """

    number: int
    time_s: float | None
    box: Box
