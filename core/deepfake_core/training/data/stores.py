"""The stores that the samples of a run come from, and the splits of their rows."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.crops.file_hashes import files_of
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.data.splits import held_out, subset_by_group
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import HASHES, REJECTED, SPLITS, CropStore
from deepfake_core.datasets.labels import some
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads

log = logging.getLogger("deepfake.training")

PICTURE_FRAMES = 16
"""Frames that are stored of each video for pictures."""

Rows = NDArray[np.intp]
"""Rows of a store, ``intp [n]``."""


@dataclass(frozen=True)
class SplitIdentity:
    """The groups and identities that the samples of a split show. The names are read each time they are needed.

    Attributes:
        groups: Function that yields the videos, sequences and other groups that must not be divided between splits.
        identities: Function that yields the persons whom the dataset names.
        files: Function that yields the group and the hash of each file
            (:func:`~deepfake_core.discovery.training_groups.hash_of_file`), as far as they are known.
    """

    groups: Callable[[], Iterable[str]]
    identities: Callable[[], Iterable[str]]
    files: Callable[[], Iterable[tuple[str, int]]] = tuple

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> SplitIdentity:
        """Collect the groups and identities of samples."""
        groups: set[str] = set()
        identities: set[str] = set()
        for sample in samples:
            groups.add(sample.group)
            identities.update(sample.identities)
        return cls(lambda: groups, lambda: identities)

    def __or__(self, other: SplitIdentity) -> SplitIdentity:
        return SplitIdentity(
            lambda: chain(self.groups(), other.groups()),
            lambda: chain(self.identities(), other.identities()),
            lambda: chain(self.files(), other.files()),
        )

    def check_disjoint(self, other: SplitIdentity, splits: str, recipe: TrainRecipe) -> None:
        """Refuse splits that share a group or, unless the recipe allows it, an identity.

        Args:
            other: Groups and identities of the other split, best the larger one: those of this one are held in memory.
            splits: Names of the two splits, for the message.
            recipe: Recipe that says whether identities may be shared.

        Raises:
            TrainingDataError: The splits share groups or identities; the message names some of them.
        """
        kind, shared, remedy = "groups", _shared(self.groups(), other.groups()), ""
        if not shared and not recipe.allow_shared_identities:
            kind, shared = "persons", _shared(self.identities(), other.identities())
            remedy = ", or set allow_shared_identities=true where the protocol shares them"
        if shared:
            raise TrainingDataError(
                f"{splits} share {len(shared)} {kind}: {some(sorted(shared))}; split the data anew "
                f"(dfbench data split){remedy}"
            )


def _shared(few: Iterable[str], many: Iterable[str]) -> set[str]:
    known = set(few)
    return {name for name in many if name in known} if known else known


def prepared(dataset: Dataset, cache_dir: Path, use: str, settings: dict[str, Any]) -> CropStore:
    """Return the store of a dataset's crops, in a folder of its own for each dataset and way to cut it.

    Several runs may therefore share ``cache_dir``. The store of a dataset that is a store already is returned as it is.

    Args:
        dataset: Dataset to prepare.
        cache_dir: Folder in which stores are kept.
        use: What the store is for, the beginning of its name.
        settings: Settings of :func:`~deepfake_core.data.crops.prepare.prepare`.
    """
    # The name of the folder says "skip" for the stride of clips, as it did before: stores that exist are found again.
    described = str(settings).replace("stride=", "skip=")
    key = fingerprint(f"{dataset.described()} {described}")
    return prepare(dataset, cache_dir / f"{use}-{key[:16]}", refresh=True, **settings)


def fingerprint(*parts: str | NDArray[Any]) -> str:
    """Return the hexadecimal SHA-256 of texts and arrays, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()


def check_own_splits(dataset: Dataset, recipe: TrainRecipe) -> None:
    """Refuse a dataset whose own training and validation splits share a group or an identity, before it is prepared.

    A dataset that is a store already needs no preparation.

    Raises:
        TrainingDataError: They do; the message names some of what they share.
    """
    if isinstance(dataset, StoredCrops) or not any(dataset.of_split("valid")):
        return
    training = SplitIdentity.of(sample for sample in dataset if sample.split in ("", "train"))
    SplitIdentity.of(dataset.of_split("valid")).check_disjoint(training, "training and validation", recipe)


def check_sources(recipe: TrainRecipe, *datasets: Dataset) -> None:
    """Refuse a recipe that names a source which no dataset has, before anything is prepared.

    Raises:
        TrainingDataError: A source is unknown; the message lists those that there are.
    """
    named = {"leave_out": recipe.leave_out}
    if recipe.samples == "pairs":
        for number, kind in enumerate(recipe.pairs.kinds):
            named |= {f"pairs.kinds.{number}.sources": kind.sources, f"pairs.kinds.{number}.beside": kind.beside}
    if not any(named.values()):
        return
    known: set[str] = set()
    for dataset in datasets:
        stored = dataset.store.source_names if isinstance(dataset, StoredCrops) else None
        known.update((sample.source for sample in dataset) if stored is None else stored)
    for setting, names in named.items():
        if unknown := [name for name in names if name not in known]:
            raise TrainingDataError(
                f"{setting}: the data have no source {some(unknown)}; there are: {', '.join(sorted(known))}"
            )


def divided(store: CropStore, recipe: TrainRecipe) -> tuple[Rows, Rows]:
    """Return the rows to train on and to validate on, without those of sources that the recipe leaves out.

    They are the dataset's own splits, or whole families are held out of each source.

    Raises:
        TrainingDataError: The dataset's own splits, or the recipe, leave nothing to train on.
    """
    rows = of_recipe(store, not_held_out(store), recipe)
    if not len(rows):
        raise TrainingDataError(f"{store.dataset}: leave_out names all of its sources: nothing is left to train on")
    if len(own := store.rows("valid")):
        return rows, of_recipe(store, own, recipe)
    families, names = _families(store, recipe)
    chosen = held_out(families[rows], _strata(store, rows), recipe.validation_share, names)
    return rows[~chosen], rows[chosen]


def not_held_out(store: CropStore) -> Rows:
    """Return the rows that the dataset's own splits leave for training.

    Raises:
        TrainingDataError: There are none.
    """
    rows = np.flatnonzero(np.isin(store.splits, [SPLITS.index(""), SPLITS.index("train")]))
    if not len(rows):
        raise TrainingDataError(f"{store.dataset}: every sample is held out by the dataset's own splits")
    return rows


def of_recipe(store: CropStore, rows: Rows, recipe: TrainRecipe) -> Rows:
    """Return the rows that a recipe allows: of at most ``max_images`` files, and of no source in ``leave_out``.

    The files are evenly spread, and the same whatever is left out; a store that exists may hold more of them.
    """
    files, most = np.unique(store.origins[rows]).astype(np.intp), recipe.max_images
    if most is not None and len(files) > most:
        rows = rows[np.isin(store.origins[rows], spread(files, most))]
    left_out = [code for code, name in enumerate(store.source_names) if name in recipe.leave_out]
    return rows[~np.isin(store.sources[rows], left_out)]


def spread(rows: Rows, most: int) -> Rows:
    """Return at most ``most`` of the rows, evenly spread over their order."""
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def share_of(store: CropStore, rows: Rows, recipe: TrainRecipe) -> Rows:
    """Return the rows of the recipe's share of the training data: whole families, of every source and class."""
    families, names = _families(store, recipe)
    return rows[subset_by_group(families[rows], recipe.data_share, recipe.seed, _strata(store, rows), names)]


def _families(store: CropStore, recipe: TrainRecipe) -> tuple[NDArray[np.int32], Sequence[str]]:
    """Return the codes of the families, and their names: groups that share identities, or single groups."""
    if recipe.allow_shared_identities:
        return store.groups, store.group_names
    return store.families, store.family_names


def _strata(store: CropStore, rows: Rows) -> NDArray[np.int64]:
    """Return a number for the source and class of each row: twice the code of the source, and one more for fakes."""
    strata: NDArray[np.int64] = store.sources[rows].astype(np.int64) * 2 + store.fake[rows]
    return strata


def counts(store: CropStore, rows: Rows) -> dict[tuple[str, int], int]:
    """Return the number of rows of each source and class, ``(source, fake)`` → number."""
    strata, found = np.unique(_strata(store, rows), return_counts=True)
    named = [(store.source_names[stratum // 2], stratum % 2) for stratum in strata.tolist()]
    return dict(sorted(zip(named, found.tolist(), strict=True)))


def damaged(store: CropStore, rows: Rows) -> dict[int, str]:
    """Return the reason for each held-out row whose stored image is damaged, and say in the log which these are."""

    def reason(row: int) -> str | None:
        try:
            store.encoded(row)
        except InputError as error:
            return error.reason
        return None

    with closing(ordered_map(reason, rows.tolist(), workers=allowed_threads())) as reasons:
        found = zip(
            rows.tolist(), track(reasons, "checking held-out faces", total=len(rows), unit="faces"), strict=True
        )
        bad = {row: why for row, why in found if why is not None}
    if bad:
        names = some([store.origin(row) for row in bad])
        log.warning("%d held-out samples cannot be read and are left out: %s", len(bad), names)
    return bad


def identity_of(store: CropStore, rows: Rows) -> SplitIdentity:
    """Return the groups and identities that rows show, and the hashes of their files."""
    return SplitIdentity(
        lambda: (store.group_names[int(code)] for code in np.unique(store.groups[rows])),
        lambda: store.persons(rows),
        lambda: files_of(store, rows),
    )


def rejected(store: CropStore) -> dict[str, str]:
    """Return the names of the files that were left out of a store, with the reason, as far as the store has them."""
    if not store.members.exists(REJECTED):
        return {}
    lines = store.members.content(REJECTED).decode("utf-8", "surrogateescape")
    return {row["path"]: row["reason"] for row in csv.DictReader(io.StringIO(lines, newline=""))}


def hashes_of(dataset: Dataset, store: CropStore, cache_dir: Path) -> Path:
    """Return the file that keeps the hashes of a dataset's files, of which ``store`` was made.

    Those of a store that the user made are kept in ``cache_dir``, because its folder may belong to somebody else.
    """
    if isinstance(dataset, StoredCrops):
        return cache_dir / f"{store.fingerprint[:16]}-{HASHES}"
    return store.folder / HASHES
