"""Miniature datasets for the tests of the data tools."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from layouts import write
from PIL import Image

from deepfake_core.datasets import Dataset, Sample


def jpeg(seed: int, side: int = 48, **options: object) -> bytes:
    """A picture that no other seed gives."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(buffer, **{"format": "JPEG", "quality": 90, **options})
    return buffer.getvalue()


def pictures(root: Path, count: int = 4, sources: tuple[str, ...] = ("a",)) -> Path:
    """``root/<source>/{real,fake}/<n>.jpg``: ``count`` of each."""
    cells = [(source, label) for source in sources for label in ("real", "fake")]
    return write(
        root,
        {
            f"{source}/{label}/{label[0]}{number}.jpg": jpeg(1000 * cell + number)
            for cell, (source, label) in enumerate(cells)
            for number in range(count)
        },
    )


def overwrite(path: Path) -> None:
    """Other bytes in a file, hidden from its size and its time: only reading it tells."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class Tar(Dataset):
    """The members of an archive that is not compressed, all real."""

    def __iter__(self) -> Iterator[Sample]:
        with tarfile.open(self.root) as archive:
            for member in archive.getmembers():
                yield Sample(
                    self.root, False, "s", member.name, span=(member.offset_data, member.size), member=member.name
                )
