"""Miniature datasets for the tests of the data tools."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(seed: int, side: int = 48, **options: object) -> bytes:
    """A picture that no other seed gives."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(buffer, **{"format": "JPEG", "quality": 90, **options})
    return buffer.getvalue()


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pictures(root: Path, count: int = 4, sources: tuple[str, ...] = ("a",)) -> Path:
    """``root/<source>/{real,fake}/<n>.jpg``: ``count`` of each."""
    cells = [(source, label) for source in sources for label in ("real", "fake")]
    return folder(
        root,
        {
            f"{source}/{label}/{label[0]}{number}.jpg": jpeg(1000 * cell + number)
            for cell, (source, label) in enumerate(cells)
            for number in range(count)
        },
    )
