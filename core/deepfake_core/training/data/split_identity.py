"""Groups and identities, which two splits of a dataset must not share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets import Sample
from deepfake_core.datasets.labels import some
from deepfake_core.errors import TrainingDataError


@dataclass(frozen=True)
class SplitIdentity:
    """The groups and identities that the samples of a split show.

    Attributes:
        groups: Videos, sequences and other groups that must not be divided between splits.
        identities: Persons whom the dataset names.
    """

    groups: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> SplitIdentity:
        """Collect the groups and identities of samples."""
        groups: set[str] = set()
        identities: set[str] = set()
        for sample in samples:
            groups.add(sample.group)
            identities.update(sample.identities)
        return cls(frozenset(groups), frozenset(identities))

    def __or__(self, other: SplitIdentity) -> SplitIdentity:
        return SplitIdentity(self.groups | other.groups, self.identities | other.identities)

    def check_disjoint(self, other: SplitIdentity, splits: str, recipe: TrainRecipe) -> None:
        """Refuse splits that share a group or, unless the recipe allows it, an identity.

        Args:
            other: Groups and identities of the other split.
            splits: Names of the two splits, for the message.
            recipe: Recipe that says whether identities may be shared.

        Raises:
            TrainingDataError: The splits share groups or identities; the message names some of them.
        """
        kind, shared, remedy = "groups", self.groups & other.groups, ""
        if not shared and not recipe.allow_shared_identities:
            kind, shared = "persons", self.identities & other.identities
            remedy = ", or set allow_shared_identities=true where the protocol shares them"
        if shared:
            raise TrainingDataError(
                f"{splits} share {len(shared)} {kind}: {some(sorted(shared))}; split the data anew "
                f"(dfbench data split){remedy}"
            )
