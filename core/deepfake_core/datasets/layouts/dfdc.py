"""The Deepfake Detection Challenge's dataset (Dolhansky et al. 2020, arXiv 2006.07397)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.files import exists, inside, matching, read_json
from deepfake_core.datasets.labels import LABELS, meaning_of, some, split_of
from deepfake_core.errors import TrainingDataError

log = logging.getLogger("deepfake.datasets")

SOURCE = "dfdc"
_DEPTHS = ("metadata.json", "*/metadata.json", "*/*/metadata.json")


class Dfdc(Dataset):
    """``dfdc_train_part_N/metadata.json`` beside the videos that it describes.

    An original is a group, to which the fakes belong that name it. Videos that are described but absent are skipped
    with a warning that counts them, because a download may be incomplete.

    Args:
        root: Folder of one part, or a folder of such folders.
    """

    @classmethod
    def recognises(cls, root: Path) -> bool:
        part = root.name.startswith("dfdc_train_part_") and (root / "metadata.json").is_file()
        return part or any(root.glob("dfdc_train_part_*"))

    def __iter__(self) -> Iterator[Sample]:
        files = matching(self.root, *_DEPTHS)
        if not files:
            raise TrainingDataError(f"{self.root}: no metadata.json; name a folder of dfdc_train_part_N folders")
        absent: list[str] = []
        total = 0
        for file in files:
            for name, entry in sorted(_read(file).items()):
                sample = self._sample(file, name, entry)
                total += 1
                if exists(sample.path):
                    yield sample
                else:
                    absent.append(sample.path.relative_to(self.root).as_posix())
        if absent and len(absent) == total:
            raise TrainingDataError(f"{self.root}: none of {total} described videos is there, such as {absent[0]}")
        if absent:
            log.warning("%s: %d of %d described videos are absent: %s", self.root, len(absent), total, some(absent))

    def _sample(self, file: Path, name: str, entry: Any) -> Sample:
        where = f"{file}: {name}"
        if not isinstance(entry, dict) or "label" not in entry:
            raise TrainingDataError(f"{where}: has no label; download the file again")
        path = inside(file.parent, name, where)
        original = entry.get("original") or name
        group = f"{SOURCE}/{Path(str(original)).stem}"
        is_fake, split = meaning_of(entry["label"], LABELS, where), split_of(entry.get("split", ""), where)
        return Sample(path, is_fake, SOURCE, group, split, label=str(entry["label"]))


def _read(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise TrainingDataError(f"{file}: expected an object with one entry per video; download it again")
    return content
