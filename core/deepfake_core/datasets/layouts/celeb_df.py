"""Celeb-DF v2 (Li et al. 2020, arXiv 1909.12962)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.files import exists, files_below, inside
from deepfake_core.datasets.labels import meaning_of, some, video_identities
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import has_video_suffix

log = logging.getLogger("deepfake.datasets")

SOURCE = "celeb-df-v2"
_FOLDERS = {"Celeb-real": False, "YouTube-real": False, "Celeb-synthesis": True}
_TESTING = "List_of_testing_videos.txt"
_LABELS = {"1": 0, "0": 1}


class CelebDF(Dataset):
    """``Celeb-real``, ``YouTube-real`` and ``Celeb-synthesis`` folders of videos with ``List_of_testing_videos.txt``.

    The listed videos (``1 Celeb-real/id0_0001.mp4``, 1 = real) are the test split and all others the training split;
    without the list there are no splits. The file names ``idA_NNNN`` and ``idA_idB_NNNN`` give the identities. The list
    divides videos, not persons, so that one person may be in both splits.

    Args:
        root: Folder that contains the three folders, of which some may be absent.
    """

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return (root / "Celeb-synthesis").is_dir()

    def __iter__(self) -> Iterator[Sample]:
        testing = self._testing()
        present = [name for name in _FOLDERS if (self.root / name).is_dir()]
        if not present:
            raise TrainingDataError(
                f"{self.root}: none of the folders {', '.join(_FOLDERS)}; name the folder that holds them"
            )
        entered: set[str] = set()
        for name in present:
            for path in files_below(self.root / name, entered=entered):
                if not has_video_suffix(path):
                    continue
                inner = path.relative_to(self.root)
                split = "" if testing is None else "test" if inner in testing else "train"
                persons = video_identities(path.stem) if name != "YouTube-real" else ()
                group = f"{SOURCE}/{inner.with_suffix('').as_posix()}"
                identities = tuple(f"{SOURCE}/{person}" for person in persons)
                yield Sample(path, _FOLDERS[name], SOURCE, group, split, identities, label=name)

    def _testing(self) -> set[Path] | None:
        """Return the paths of the test videos relative to the root, or ``None`` if there is no list."""
        file = self.root / _TESTING
        if not file.exists():
            return None
        listed: set[Path] = set()
        for line, text in enumerate(_text(file).splitlines(), start=1):
            if not text.strip():
                continue
            label, _, name = text.strip().partition(" ")
            where = f"{file}: row {line}"
            inner = inside(self.root, name.strip(), where).relative_to(self.root)
            if _FOLDERS.get(inner.parts[0]) != meaning_of(label, _LABELS, where):
                raise TrainingDataError(
                    f"{where}: label {label} (1 = real) does not agree with the folder of {name.strip()!r}; correct it"
                )
            listed.add(inner)
        absent = sorted(path.as_posix() for path in listed if not exists(self.root / path))
        if absent:
            log.warning("%s: %d of %d listed videos are absent: %s", file, len(absent), len(listed), some(absent))
        return listed


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingDataError(f"{file}: cannot be read ({error}); download it again") from error
