"""A store of crops, as ``dfbench data prepare`` writes it, read as a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.datasets import Dataset, Sample

if TYPE_CHECKING:
    from deepfake_core.datasets.crop_store.store import CropStore

_RECORD = "store.json"


class StoredCrops(Dataset):
    """The rows of a :class:`~deepfake_core.datasets.crop_store.store.CropStore`, each a file within a tar shard.

    Training reads :attr:`store` directly, so that nothing is prepared twice.

    Args:
        root: Folder of the store.
    """

    @cached_property
    def store(self) -> CropStore:
        """Store behind this dataset, opened on first use.

        Raises:
            TrainingDataError: The folder contains no complete store.
        """
        from deepfake_core.datasets.crop_store.store import CropStore

        return CropStore(self.root)

    def __iter__(self) -> Iterator[Sample]:
        from deepfake_core.datasets.crop_store.store import SHARDS, SPLITS

        store = self.store
        extension = "png" if store.spec.quality is None else "jpg"
        for row in range(len(store)):
            shard, offset, length = store.span(row)
            yield Sample(
                path=store.folder / SHARDS / store.shards[shard],
                is_fake=bool(store.fake[row]),
                source=store.source_names[int(store.sources[row])],
                group=store.group_names[int(store.groups[row])],
                split=SPLITS[int(store.splits[row])],
                identities=store.identities(row),
                span=(offset, length),
                member=f"{row:08d}.{extension}",
                frame=int(store.frames[row]),
                label="fake" if store.fake[row] else "real",
            )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return (root / _RECORD).is_file()
