"""Preparation of the samples of a run from datasets, as the ``samples`` field of its recipe says."""

from __future__ import annotations

from pathlib import Path

import torch

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_core.progress import stage
from deepfake_core.training.data.labelled import labelled_training_data, store_of_labelled
from deepfake_core.training.data.training_data import TrainingData
from deepfake_core.training.pairs.prepare import face_margin, pairs_training_data, store_of_pairs


def check_samples(detector: Detector, recipe: TrainRecipe) -> None:
    """Refuse a recipe whose samples the detector cannot take.

    Raises:
        TrainingDataError: The detector takes clips and the recipe's samples are pictures, or the reverse; or the
            recipe makes pairs of faces and the detector takes whole pictures.
    """
    if (recipe.samples == "clips") != (detector.preprocess.clip is not None):
        takes = "clips" if detector.preprocess.clip else "pictures"
        raise TrainingDataError(
            f"{type(detector).__name__} takes {takes}, but the recipe has samples={recipe.samples!r}; choose another "
            f"recipe (dfbench recipes), or --set samples={takes}"
        )
    if recipe.samples == "pairs":
        face_margin(detector)


@stage("preparing training data")
def gather(
    detector: Detector,
    dataset: Dataset,
    valid: Dataset | None,
    recipe: TrainRecipe,
    cache_dir: Path,
    device: torch.device,
) -> TrainingData:
    """Prepare the training and validation samples of a run.

    Args:
        detector: Detector to train, whose preprocessing decides the crops.
        dataset: Data to train on; a part of it is held out for validation where ``valid`` is ``None``.
        valid: Data to validate on.
        recipe: Recipe of the run.
        cache_dir: Folder in which prepared samples are kept.
        device: Device on which the autoencoders of the recipe are trained.

    Raises:
        TrainingDataError: The data are unusable, or the splits share a group, an identity or a file.
    """
    if recipe.samples == "pairs":
        if valid is not None:
            raise TrainingDataError("samples='pairs' holds out faces of the training data; leave out --valid")
        return pairs_training_data(detector, dataset, recipe, cache_dir, device)
    return labelled_training_data(detector, dataset, valid, recipe, cache_dir)


@stage("preparing training data")
def store_of(detector: Detector, dataset: Dataset, recipe: TrainRecipe, cache_dir: Path) -> CropStore:
    """Return the store that :func:`gather` trains from, and make it where there is none yet.

    Args:
        detector: Detector to train, whose preprocessing decides the crops.
        dataset: Data to train on.
        recipe: Recipe of the run.
        cache_dir: Folder in which prepared samples are kept.

    Raises:
        TrainingDataError: The data are unusable.
    """
    if recipe.samples == "pairs":
        return store_of_pairs(dataset, recipe, cache_dir, face_margin(detector))
    return store_of_labelled(dataset, detector.preprocess, recipe, cache_dir, "train")


def test_samples(dataset: Dataset, test: Dataset | None) -> tuple[Dataset, list[Sample]] | None:
    """Return the samples to test on, with the dataset that reads them, or ``None`` where there are none.

    Args:
        dataset: Training data, whose test split is used where ``test`` is ``None``.
        test: Dataset to test on; its test split is used where it has one, and all of its samples otherwise.
    """
    if test is not None:
        return test, list(test.of_split("test")) or list(test)
    own = list(dataset.of_split("test"))
    return (dataset, own) if own else None
