"""What the weights know of a source from which runs without it start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.discovery.training_groups import TrainingGroups
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.training.data.stores import Rows, identity_of


@dataclass(frozen=True)
class Start:
    """A model whose weights runs start from.

    Attributes:
        model: The model.
        groups: What it was trained on.
        labelled: Whether fakes of the data were among it, beside those that its recipe made of real faces.
    """

    model: LoadedDetector
    groups: TrainingGroups
    labelled: bool

    @classmethod
    def of(cls, model: LoadedDetector) -> Self:
        """Read what the package of a model says of its training.

        Raises:
            DeepfakeError: It does not say all that the model was trained on.
        """
        groups = model.training_groups
        if groups is None or not groups.complete:
            raise DeepfakeError(
                f"{model.manifest.name} {model.manifest.version}: its package does not say all that it was trained on, "
                "so that no source can be left out; start from a run of this version of the program"
            )
        return cls(model, groups, labelled(model.manifest.training))

    @property
    def name(self) -> str:
        """Name and version of the model."""
        return f"{self.model.manifest.name} {self.model.manifest.version}"

    def unseen(self, store: CropStore, rows: Rows) -> Rows:
        """Return the rows without those of the groups that the model was trained on, by their names or their files."""
        identity = identity_of(store, rows)
        trained = set(self.groups.seen(identity.groups(), identity.files()).names)
        codes = [code for code in np.unique(store.groups[rows]).tolist() if store.group_names[code] in trained]
        return rows[~np.isin(store.groups[rows], codes)]

    def obstacle(self, store: CropStore, rows: Rows) -> str:
        """Return why a source with these rows cannot be left out, because the model knows it; empty where it can."""
        unseen = self.unseen(store, rows)
        if len(unseen) == len(rows):
            return ""
        fakes = (store.fake[rows] == 1).any()
        if fakes and not self.labelled and (store.fake[unseen] == 1).any():
            return ""
        learnt = "from its fakes, too" if fakes and self.labelled else "from its real faces"
        return f"{self.name}, which the runs start from, has learnt {learnt}; start from weights that have not"


def labelled(training: Mapping[str, Any]) -> bool:
    """Return whether the recipe in a manifest, or that of the weights it starts from, learns from fakes of the data."""
    before = training.get("start")
    own = training.get("samples") != "pairs" or training.get("pairs", {}).get("pseudo", {}).get("labelled", 1.0) > 0
    return own or (before is not None and labelled(before))
