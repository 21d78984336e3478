"""A small labelled dataset that needs no download: drawn faces, and fakes made from them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.errors import DeepfakeError, TrainingDataError
from deepfake_registry.files import new_folder
from deepfake_registry.folders import cache_folder

PERSONS = 40
_SOURCE = "sample"
_FOLDER = "sample-1"  # with the version of the drawings
_SPLITS = ("train", "train", "train", "train", "train", "train", "train", "valid", "valid", "test")
_SIDE = 256


class SampleFaces(Dataset):
    """Forty drawn faces and a fake of each: enough to see whether training runs, but no measure of accuracy.

    A fake is a real face with another face blended over it from the eyes down, or with a blurred mouth. A face and its
    fake are one group, and their identities say whose faces they show. 28 faces are for training, 8 for validation and
    4 for testing. The images are drawn on first use.

    Args:
        root: Folder that keeps the images; by default the user's cache.
    """

    def __init__(self, root: str | Path = "") -> None:
        super().__init__(root or cache_folder(_FOLDER))

    def __iter__(self) -> Iterator[Sample]:
        folder = self.root / _FOLDER
        if not folder.is_dir():
            _draw(folder)
        for person in range(PERSONS):
            for kind, is_fake in (("fake", True), ("real", False)):
                path = folder / kind / f"{person:02}.jpg"
                shown = (person, _other(person)) if is_fake and not _blurred(person) else (person,)
                identities = tuple(f"{_SOURCE}/{number:02}" for number in shown)
                split = _SPLITS[person % len(_SPLITS)]
                yield Sample(path, is_fake, _SOURCE, identities[0], split, identities, label=kind)


def _draw(folder: Path) -> None:
    """Draw all images into a folder that appears only when it is complete."""
    faces = [draw_face(person, _SIDE) for person in range(PERSONS)]
    try:
        with new_folder(folder) as whole:
            for kind in ("real", "fake"):
                (whole / kind).mkdir()
            for person, face in enumerate(faces):
                fake = _fake(face, faces[_other(person)], blurred=_blurred(person))
                for kind, pixels in (("real", face), ("fake", fake)):
                    (whole / kind / f"{person:02}.jpg").write_bytes(_jpeg(pixels))
    except (OSError, DeepfakeError) as error:
        if not folder.is_dir():  # otherwise another process was faster
            raise TrainingDataError(
                f"the sample pictures cannot be written ({error}); name another folder: sample:FOLDER"
            ) from error


def _blurred(person: int) -> bool:
    return person % 2 == 1


def _other(person: int) -> int:
    """Return the person whose face is blended over this one.

    Both are in one split, and neither belongs to another pair.
    """
    return person + 10 if person // 10 % 2 == 0 else person - 10


def _fake(face: NDArray[np.uint8], other: NDArray[np.uint8], *, blurred: bool) -> NDArray[np.uint8]:
    """Return a fake of a face: with a part blurred, or with a part of the other face blended over it.

    All three images are ``uint8 [256, 256, 3]`` RGB.
    """
    box = (84, 148, 172, 204) if blurred else (88, 104, 168, 196)
    mask = Image.new("L", (_SIDE, _SIDE))
    mask.paste(255, box)
    mask = mask.filter(ImageFilter.GaussianBlur(6))
    picture = Image.fromarray(face)
    over = picture.filter(ImageFilter.GaussianBlur(3)) if blurred else Image.fromarray(other)
    return np.asarray(Image.composite(over, picture, mask))


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
