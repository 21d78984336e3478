"""The image that speed is measured on: as a file, and as the network takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake_bench.records.dataset import DATA
from deepfake_core.handle.predictor import Predictor

PICTURE = "one 1920×1080 JPEG with one face"


def write_picture(folder: Path) -> Path:
    """Write the file that latency is measured on: the portrait, 1080 pixels high, on a canvas of 1920 × 1080 pixels."""
    with Image.open(DATA / "portrait.jpg") as portrait:
        canvas = Image.new("RGB", (1920, 1080), (96, 96, 104))
        canvas.paste(portrait.resize((1080, 1080), Image.Resampling.BICUBIC), (420, 0))
    target = folder / "portrait-1080p.jpg"
    canvas.save(target, quality=90)
    return target


def network_input(detector: Predictor) -> list[NDArray[np.uint8]]:
    """Return the portrait as the network takes it: ``[uint8 [1, H, W, 3]]`` RGB, or a clip ``[1, T, H, W, 3]``.

    An ensemble whose members cut faces in several ways takes one array for each.
    """
    prepared = detector.prepare(DATA / "portrait.jpg")
    if len(prepared.crops) != 1:
        raise RuntimeError(f"the embedded portrait gave {len(prepared.crops)} faces, expected one: {prepared.error}")
    return [prepared.crops, *prepared.others]
