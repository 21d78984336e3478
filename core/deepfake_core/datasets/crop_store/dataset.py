"""A store of crops, as ``dfbench data prepare`` or ``dfbench data pack`` writes it, read as a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake_core.datasets import Dataset, Sample

if TYPE_CHECKING:
    from deepfake_core.datasets.crop_store.store import CropStore

_RECORD = "store.json"


class StoredCrops(Dataset):
    """The rows of a :class:`~deepfake_core.datasets.crop_store.store.CropStore`, each a file within a larger one.

    Training reads :attr:`store` directly, so that nothing is prepared twice.

    Args:
        root: Folder of the store, or a pack of it.
    """

    @cached_property
    def store(self) -> CropStore:
        """Store behind this dataset, opened on first use.

        Raises:
            TrainingDataError: The folder contains no complete store, or the file is no whole pack.
        """
        from deepfake_core.datasets.crop_store.store import CropStore

        return CropStore(self.root)

    def __iter__(self) -> Iterator[Sample]:
        return map(self._sample, range(len(self.store)))

    def of_split(self, split: str) -> Iterator[Sample]:
        return map(self._sample, self.store.rows(split).tolist())

    def counts(self) -> Counter[tuple[str, bool]]:
        from deepfake_core.datasets.crop_store.store import SPLITS

        store = self.store
        found = np.bincount(store.splits.astype(np.intp) * 2 + store.fake, minlength=2 * len(SPLITS)).tolist()
        return Counter({(SPLITS[place // 2], place % 2 == 1): count for place, count in enumerate(found)})

    def _sample(self, row: int) -> Sample:
        from deepfake_core.datasets.crop_store.store import SPLITS

        store = self.store
        path, offset, length = store.place(row)
        return Sample(
            path=path,
            is_fake=bool(store.fake[row]),
            source=store.source_names[int(store.sources[row])],
            group=store.group_names[int(store.groups[row])],
            split=SPLITS[int(store.splits[row])],
            identities=store.identities(row),
            span=(offset, length),
            member=f"{row:08d}.{store.suffix}",
            frame=int(store.frames[row]),
            label="fake" if store.fake[row] else "real",
        )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        from deepfake_core.datasets.crop_store.pack import is_pack

        return (root / _RECORD).is_file() or is_pack(root)
