"""The data that a training run trains on and validates on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.data.crops.cutter import NO_FACE
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.labels import some
from deepfake_core.discovery.training_groups import TrainingGroups
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.augment import Augment
from deepfake_core.training.data.batches import Batches, Feed
from deepfake_core.training.data.stores import SplitIdentity, fingerprint
from deepfake_core.training.data.validation import ValidationSet

ROLES = ("real", "fake")
"""Names of the classes 0 and 1 of a source in a manifest."""

NO_LANDMARKS = "no plausible face landmarks"
UNUSABLE = (NO_FACE, NO_LANDMARKS)
"""Reasons for which a picture is left out although it can be read."""


@dataclass(frozen=True)
class TrainingData:
    """Training and validation samples of a run, with what is recorded about them.

    Attributes:
        training: Training samples by epoch and item.
        validation: Validation samples, the same for every seed.
        counts: Number of pictures of each source and class that are used: ``(source, fake)`` → number.
        content: Hexadecimal SHA-256 over everything that was prepared: files, faces and labels.
        files: Number of files that were examined, whether or not they are used.
        trained: Groups, identities and files of the training samples.
        validated: Those of the validation samples.
        first_names: Names of the first training pictures, for the log.
        rejected: Names of the files that were left out, with the reason.
        device_augment: Function that returns the augmentation that runs on a device; ``None`` where the loading
            processes do all of it.
        make_feed: Function that returns what gives the run its samples; ``None`` where loading processes make those of
            ``training``.
        hashes: File in which :func:`~deepfake_core.data.manifest.held_out_hashes` finds the hashes of the files that
            were read; ``None`` where no file was.
    """

    training: TrainingSet
    validation: ValidationSet
    counts: Mapping[tuple[str, int], int]
    content: str
    files: int
    trained: SplitIdentity
    validated: SplitIdentity
    first_names: Sequence[str] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    device_augment: Callable[[torch.device], Augment] | None = None
    hashes: Path | None = None
    make_feed: Callable[[TrainRecipe, Accelerator], Feed] | None = None

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the validation samples; only runs with the same fingerprint can be compared."""
        return fingerprint("\n".join(self.validation.names), self.validation.fake)

    @property
    def identity(self) -> SplitIdentity:
        """Groups and identities of training and validation, which no test sample may share."""
        return self.trained | self.validated

    def groups(self) -> TrainingGroups:
        """Return the hashes of what the run trains and validates on, which its package keeps."""
        trained, held = ((content for _, content in split.files()) for split in (self.trained, self.validated))
        return TrainingGroups.of(self.trained.groups(), self.validated.groups(), trained, held)

    def summary(self, dataset: Dataset) -> dict[str, Any]:
        """Return what ``data.json`` of the run states about the samples of ``dataset``."""
        return {
            "layout": type(dataset).__name__,
            "fingerprint": self.fingerprint,
            "content": self.content,
            "counts": [
                {"source": source, "fake": fake, "count": count} for (source, fake), count in self.counts.items()
            ],
            "training_items": len(self.training),
            "validation_samples": len(self.validation.fake),
            "rejected": len(self.rejected),
        }

    def augment(self, device: torch.device) -> Augment | None:
        """Return the augmentation that runs on ``device``, or ``None`` where the recipe does not ask for one."""
        return self.device_augment(device) if self.device_augment else None

    def feed(self, recipe: TrainRecipe, accelerator: Accelerator) -> Feed:
        """Return what gives a run its samples.

        Args:
            recipe: Recipe of the run.
            accelerator: Accelerator of the run, each of whose processes takes its own share of every batch.

        Raises:
            TrainingDataError: There is nothing to train on, or the batch cannot be divided among the processes.
        """
        return self.make_feed(recipe, accelerator) if self.make_feed else Batches(self.training, recipe, accelerator)

    def check(self, recipe: TrainRecipe) -> None:
        """Refuse data on which nothing can be validated, or of which too much cannot be read.

        Raises:
            TrainingDataError: More files cannot be read than the recipe's ``max_bad`` allows, of which the message
                names some; or the validation split is empty or has only one class.
        """
        self.validation.check()
        unreadable = [name for name, reason in self.rejected.items() if reason not in UNUSABLE]
        if len(unreadable) > recipe.max_bad * self.files:
            raise TrainingDataError(
                f"{len(unreadable)} of {self.files} files cannot be read, more than max_bad={recipe.max_bad:.3g} "
                f"allows: {some(unreadable)}; repair or remove them (dfbench data check finds them all), or raise "
                "max_bad"
            )
