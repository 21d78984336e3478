"""What a training run needs, checked before anything is written: installed packages, and samples to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from deepfake_core.errors import MissingExtra, TrainingDataError
from deepfake_registry.errors import refuse_missing

if TYPE_CHECKING:
    from deepfake_core.contract.detector import Detector
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.datasets import Dataset


def check_torch(detector: str, track: Sequence[str] = (), *checks: Callable[[], object]) -> None:
    """Refuse to train without torch; nothing that needs torch is imported.

    Without torch the recipes are unknown. The message therefore names all that the detector's default recipe needs.

    Args:
        detector: Name of an installed detector.
        track: Trackers, as users type them.
        *checks: Further functions that raise :class:`MissingExtra`, for the same message.

    Raises:
        MissingExtra: torch is not installed.
        UnknownDetector: It is not installed either.
    """
    if find_spec("torch") is not None:
        return
    from deepfake_core.discovery.plugins import detector_spec
    from deepfake_core.training.trackers.opening import check_trackers

    spec = detector_spec(detector)
    training = [
        MissingExtra(f"training {spec.name}", words[-1], "".join(f"{word} " for word in words[:-1]))
        for words in map(str.split, spec.training or (spec.install,))
    ]
    raise_missing([partial(refuse_missing, training), partial(check_trackers, track), *checks])


def check_optuna() -> None:
    """Refuse to search for settings without Optuna.

    Raises:
        MissingExtra: It is not installed.
    """
    if find_spec("optuna") is None:
        raise MissingExtra("a search", "deepfake-core[tune]")


def check_installed(
    detector: Detector,
    recipe: TrainRecipe,
    track: Sequence[str] = (),
    datasets: Iterable[Dataset | None] = (),
    tries: TrainRecipe | None = None,
) -> None:
    """Refuse a run for which packages are missing, or whose data cannot be listed or lack a class.

    Args:
        detector: Detector to train.
        recipe: Recipe of the run.
        track: Trackers, as users type them.
        datasets: Training data, followed by validation and test data.
        tries: Recipe that the run tries out, whose packages must be installed, too.

    Raises:
        MissingExtra: A package is not installed; one message names all that is missing, and the line that brings it.
        TrainingDataError: A dataset has no sample, or the training data lack a class that the recipe needs; or the
            recipe makes pairs of a store without landmarks.
        DeepfakeError: There is no such tracker.
    """
    from deepfake_core.data.crops.face_mesh import model_file
    from deepfake_core.datasets.crop_store.dataset import StoredCrops
    from deepfake_core.training.data.augment import policy
    from deepfake_core.training.pairs.faces import Faces
    from deepfake_core.training.trackers.opening import check_trackers

    policy(recipe.augment)  # refuses an unknown one
    pairs, datasets = recipe.samples == "pairs", list(datasets)
    checks: list[Callable[[], object]] = [partial(refuse_missing, list(detector.missing_extras(tries or recipe)))]
    if pairs and datasets and isinstance(datasets[0], StoredCrops):
        Faces(datasets[0].store)  # refuses a store without landmarks
    elif pairs:
        checks += [model_file]
    if pairs and recipe.pairs.match == "shortcuts" and find_spec("sklearn") is None:
        checks += [partial(refuse_missing, [MissingExtra("pairs.match=shortcuts", "scikit-learn")])]
    checks += [partial(check_trackers, track)]
    wanted: tuple[bool, ...] = (False,) if pairs else (False, True)
    for dataset in datasets:
        checks += [partial(check_classes, dataset, wanted)] if dataset is not None else []
        wanted = ()
    raise_missing(checks)


def raise_missing(checks: Iterable[Callable[[], object]]) -> None:
    """Call functions that may find packages missing.

    Raises:
        MissingExtra: Packages are missing; one message names those of all functions.
    """
    missing: list[MissingExtra] = []
    for check in checks:
        try:
            check()
        except MissingExtra as error:
            missing += error.missing
    refuse_missing(missing)


def check_classes(dataset: Dataset, wanted: Sequence[bool]) -> None:
    """List a dataset, and refuse one without samples, or without a class that is wanted among those to train on.

    Args:
        dataset: Dataset to look at.
        wanted: Classes that its training and validation samples must have; true for fake.

    Raises:
        TrainingDataError: There are no samples, or none of a class.
    """
    found = dataset.counts()
    if not found.total():
        raise TrainingDataError(f"{dataset.root}: holds no pictures; name a folder with real/ and fake/")
    for fake in wanted:
        if not any(found[split, fake] for split in ("", "train", "valid")):
            raise TrainingDataError(
                f"{dataset.root}: holds no {'fake' if fake else 'real'} pictures to train on; training needs both "
                "classes"
                if wanted[1:]
                else f"{dataset.root}: holds no real pictures to train on, from which pairs are made"
            )
