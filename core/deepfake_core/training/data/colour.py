"""Changes of colour, as one linear map of RGB per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GREY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (ITU-R BT.601), ``float64 [3]``."""

# Axes of hue in the YIQ colour space, whose first row is grey.
_YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


def saturated(saturation: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the maps of RGB ``float64 [N, 3, 3]`` that change saturation and hue, and leave grey as it is.

    Args:
        saturation: Factors of the saturation, ``float64 [N]``.
        angle: Rotations of the hue in rad, ``float64 [N]``.
    """
    turn = np.zeros((len(angle), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 2, 1] = np.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    fade = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * GREY
    return np.asarray(_RGB @ turn @ _YIQ @ fade)


@dataclass(frozen=True, slots=True)
class ColourJitter:
    """Random brightness, contrast, saturation and hue.

    Attributes:
        brightness: Half width of the interval around 1 from which the factor of the brightness is drawn.
        contrast: Half width of the interval around 1 from which the factor of the contrast is drawn; contrast changes
            around the mean grey of the image.
        saturation: Half width of the interval around 1 from which the factor of the saturation is drawn.
        hue: Largest rotation of the hue in either direction, as a fraction of the full circle.
        p: Fraction of the images that change.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    p: float = 0.8

    def maps(self, uniform: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Turn random numbers into the matrices ``float32 [N, 3, 3]`` and the weights of the mean, ``float32 [N]``.

        A colour x becomes ``matrix · x + weight · mean``, where the mean is that of the image's grey.

        Args:
            uniform: ``float64 [N, 5]`` in [0, 1): whether an image changes, and the four changes.
        """
        span = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        offset = np.where(uniform[:, :1] < self.p, (2 * uniform[:, 1:] - 1) * span, 0.0)
        brightness, contrast, saturation = (1 + offset[:, :3]).T
        # Changes of hue and saturation leave grey as it is, so that the mean's weight need not go through them.
        matrix = (brightness * contrast)[:, None, None] * saturated(saturation, 2 * np.pi * offset[:, 3])
        return matrix.astype(np.float32), (brightness * (1 - contrast)).astype(np.float32)

    def apply(self, images: Sequence[NDArray[np.uint8]], uniform: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
        """Change the colours of images ``uint8 [H, W, 3]`` RGB, all by the same map.

        Args:
            images: The images; the mean grey is that of all of them together.
            uniform: ``float64 [1, 5]`` in [0, 1), as :meth:`maps` takes it.
        """
        matrix, weight = self.maps(uniform)
        mean = np.mean([cv2.mean(image)[:3] for image in images], axis=0) @ GREY
        both = np.hstack([matrix[0], np.full((3, 1), weight[0] * mean, np.float32)])
        return [cv2.transform(image, both).astype(np.uint8, copy=False) for image in images]
