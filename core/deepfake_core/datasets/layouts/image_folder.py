"""Images and videos in folders whose names are the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.files import MEDIA_SUFFIXES, files_below, folders
from deepfake_core.datasets.labels import LABELS, SPLITS, known_meaning, sequence_identities
from deepfake_core.errors import TrainingDataError


class ImageFolder(Dataset):
    """``root/{real,fake}/…`` or ``root/<source>/{real,fake}/…``, each class folder nested to any depth.

    The folder that contains the class folders is the source. A source may have only one class. A file in a sub-folder
    of its class belongs to the group of that sub-folder (the frames of one video); any other file is a group of its
    own. Groups are named ``<source>/<folder or stem>``, so that the frames of ``a/real/7`` and ``a/fake/7`` stay
    together. A group named like a FaceForensics++ sequence, ``METHOD_ID[_ID]_PART``, gives the identities. Hidden files
    are skipped, and so are files whose suffix is neither that of an image nor that of a video.

    If all folders that contain class folders have names of splits (``root/{train,valid,test}/{real,fake}``, also
    ``val`` and similar), they are the splits of one source. Then groups are named
    ``<source>/<split>/<folder or stem>``.

    Args:
        root: Folder of the dataset.
        labels: Map from the name of a class folder to 1 for fake or 0 for real, in place of
            :data:`~deepfake_core.datasets.labels.LABELS`.
    """

    def __init__(self, root: str | Path, labels: Mapping[str, int] = LABELS) -> None:
        super().__init__(root)
        self.labels = dict(labels)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        if not root.is_dir():
            return False
        inner = folders(root)
        return _has_classes(inner) or any(_has_classes(folders(folder)) for folder in inner[:20])

    def __iter__(self) -> Iterator[Sample]:
        inner = folders(self.root)
        name = self.root.resolve().name
        if any(self._meaning(folder) is not None for folder in inner):
            yield from self._source(name, "", self.root, inner)
            return
        if not inner:
            raise TrainingDataError(f"{self.root}: no class folders; expected {self._expected()}")
        if all(folder.name.lower() in SPLITS for folder in inner):
            for folder in inner:
                yield from self._source(name, SPLITS[folder.name.lower()], folder, folders(folder))
            return
        for folder in inner:
            yield from self._source(folder.resolve().name, "", folder, folders(folder))

    def _source(self, name: str, split: str, source: Path, inner: list[Path]) -> Iterator[Sample]:
        strange = [folder.name for folder in inner if self._meaning(folder) is None]
        if strange or not inner:
            named = f"folder {strange[0]!r} is no known class" if strange else "no class folders"
            raise TrainingDataError(f"{source}: {named}; expected {self._expected()}, or pass labels=")
        taken: dict[bool, str] = {}
        for folder in inner:
            is_fake = self._meaning(folder)
            assert is_fake is not None
            if is_fake in taken:
                label = "fake" if is_fake else "real"
                raise TrainingDataError(f"{source}: {taken[is_fake]!r} and {folder.name!r} both mean {label}; keep one")
            taken[is_fake] = folder.name
            prefix = f"{name}/{source.name}" if split else name
            empty = True
            for sample in self._class(folder, is_fake, name, prefix, split):
                empty = False
                yield sample
            if empty:
                raise TrainingDataError(f"{folder}: no pictures or videos; add some, or remove the folder")

    def _class(self, folder: Path, is_fake: bool, source: str, prefix: str, split: str) -> Iterator[Sample]:
        """Yield the samples of one class folder; the names of its groups begin with ``prefix``."""
        for path in files_below(folder):
            if path.suffix.lower() in MEDIA_SUFFIXES:
                inner = path.parent.relative_to(folder).as_posix()
                group = f"{prefix}/{path.stem if inner == '.' else inner}"
                yield Sample(path, is_fake, source, group, split, sequence_identities(group))

    def _meaning(self, folder: Path) -> bool | None:
        return known_meaning(folder.name, self.labels)

    def _expected(self) -> str:
        return "/".join(sorted(self.labels))


def _has_classes(inner: list[Path]) -> bool:
    return bool(inner) and all(known_meaning(folder.name, LABELS) is not None for folder in inner)
