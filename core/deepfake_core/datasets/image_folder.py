"""Folders whose names are the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES

LABELS: Mapping[str, int] = MappingProxyType(
    {
        "real": 0,
        "fake": 1,
        "0_real": 0,
        "1_fake": 1,
        "training_real": 0,
        "training_fake": 1,
    }
)
"""Folder name → 1 for fake, 0 for real."""


class ImageFolder(Dataset):
    """``root/{real,fake}/…`` or ``root/<source>/{real,fake}/…``, each class folder nested to any depth.

    The source is the folder that holds the class folders. A file in a sub-folder of its class belongs to the
    group of that sub-folder (the frames of one video); any other file is a group of its own. Groups are named
    ``<source>/<folder or stem>``, so the frames of ``a/real/7`` and ``a/fake/7`` stay together. Hidden files
    and files that are neither a picture nor a video by their suffix are passed over. A source may have one
    class only.

    Args:
        root: The dataset's folder.
        labels: Folder name → 1 for fake, 0 for real; replaces :data:`LABELS`.
    """

    def __init__(self, root: str | Path, labels: Mapping[str, int] = LABELS) -> None:
        super().__init__(root)
        self.labels = labels

    def __iter__(self) -> Iterator[Sample]:
        folders = _folders(self.root)
        if any(folder.name in self.labels for folder in folders):
            yield from self._source(self.root, folders)
            return
        if not folders:
            raise TrainingDataError(f"{self.root}: no class folders; expected {self._expected()}")
        for folder in folders:
            yield from self._source(folder, _folders(folder))

    def _source(self, source: Path, folders: list[Path]) -> Iterator[Sample]:
        strange = [folder.name for folder in folders if folder.name not in self.labels]
        if strange or not folders:
            named = f"folder {strange[0]!r} is no known class" if strange else "no class folders"
            raise TrainingDataError(f"{source}: {named}; expected {self._expected()}, or pass labels=")
        taken: dict[int, str] = {}
        for folder in folders:
            fake = self.labels[folder.name]
            if fake in taken:
                raise TrainingDataError(
                    f"{source}: {taken[fake]!r} and {folder.name!r} both mean {'fake' if fake else 'real'}; keep one"
                )
            taken[fake] = folder.name
            yield from self._class(source.resolve().name, folder, fake)

    def _class(self, source: str, folder: Path, fake: int) -> Iterator[Sample]:
        empty = True
        for path in _files(folder):
            if path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES:
                empty = False
                inner = path.parent.relative_to(folder).as_posix()
                yield Sample(path, fake, source, f"{source}/{path.stem if inner == '.' else inner}")
        if empty:
            raise TrainingDataError(f"{folder}: no pictures or videos; add some, or remove the folder")

    def _expected(self) -> str:
        return "/".join(sorted(self.labels))


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise TrainingDataError(f"{root}: cannot be listed ({error.strerror}); name an existing folder") from error


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, sorted; links to folders are not followed, so that a loop cannot trap it."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():
                yield from _files(path)
        else:
            yield path
