"""Kaggle's "140k real and fake faces"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.files import inside
from deepfake_core.datasets.labels import SPLITS, meaning_of
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.datasets.tables import rows
from deepfake_core.errors import TrainingDataError

_SPELLINGS = ("real_vs_fake/real-vs-fake", "real_vs_fake/real_vs_fake", "real-vs-fake", "real_vs_fake")
_LABELS = {"1": 0, "0": 1}


class Kaggle140k(Dataset):
    """Images in ``real_vs_fake/real-vs-fake/{train,valid,test}/{real,fake}/*.jpg``.

    The inner folder may also be called ``real_vs_fake``. The folders give the splits, and each image is a group of its
    own.

    Args:
        root: Any of these folders down to the one that contains ``train``, ``valid`` and ``test``. Or one of the
            dataset's own CSV files beside them, with columns ``path`` and ``label`` (1 = real): then only the images of
            its rows are read, and their labels must agree with their folders.
    """

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return root.is_dir() and any((root / name).is_dir() for name in _SPELLINGS)

    def __iter__(self) -> Iterator[Sample]:
        table = self.root if self.root.suffix.lower() == ".csv" else None
        top = self.root.parent if table else self.root
        inner = next((path for name in _SPELLINGS if (path := top / name).is_dir()), top)
        if not any((inner / split).is_dir() for split in SPLITS if split):
            raise TrainingDataError(
                f"{inner}: no folders train, valid and test; expected {_SPELLINGS[0]}/train/… below {top}"
            )
        if table:
            yield from self._rows(table, inner)
            return
        for sample in ImageFolder(inner):
            yield _picture(sample.path, inner, sample.is_fake, sample.split)

    def _rows(self, table: Path, inner: Path) -> Iterator[Sample]:
        for line, cells in rows(table, ("path", "label"), any_case=True):
            where = f"{table}: row {line}"
            path = inside(inner, cells["path"], where)
            is_fake = meaning_of(cells["label"], _LABELS, where)
            split, kind, *rest = (*path.relative_to(inner).parts, "", "")
            if not any(rest) or split not in SPLITS or kind != ("fake" if is_fake else "real"):
                raise TrainingDataError(
                    f"{where}: label {cells['label']} (1 = real) does not agree with the folders of {cells['path']!r}; "
                    "correct it"
                )
            yield _picture(path, inner, is_fake, SPLITS[split])


def _picture(path: Path, inner: Path, is_fake: bool, split: str) -> Sample:
    group = f"140k/{path.relative_to(inner).with_suffix('').as_posix()}"
    return Sample(path, is_fake, "140k", group, split, label="fake" if is_fake else "real")
