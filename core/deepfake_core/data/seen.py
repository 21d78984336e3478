"""Find out whether a model was trained on the data by which it is to be judged, selected or calibrated."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from deepfake_core.data.crops.file_hashes import files_of
from deepfake_core.data.inspect import Want, inspect_all
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.discovery.training_groups import Seen, hash_of_file
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.samples import Subset
from deepfake_core.handle.predictor import Predictor


def seen_by(models: Iterable[Predictor], dataset: Dataset) -> list[Seen]:
    """Return for each model how many groups of a dataset it was trained on: by their names, or by the bytes of a file.

    A group is not found if it has another name here and other bytes; then it counts as not seen.

    Args:
        models: Detectors and ensembles; an ensemble has seen what any of its members has.
        dataset: Dataset; its files are read if a model knows the hashes of files.

    Raises:
        ArtifactCorrupt: The list in the package of a model is damaged.
    """
    known = [model.training_groups for model in models]
    there = [one for one in known if one is not None]
    wanted = any(len(one.trained_files) or len(one.validated_files) for one in there)
    groups: list[str] = []
    files: list[tuple[str, int]] = []
    inner = dataset
    while isinstance(inner, Subset):
        inner = inner.dataset
    if wanted and not isinstance(inner, StoredCrops):
        for sample, facts in inspect_all(dataset, Want(content=False), description="hashing"):
            groups.append(sample.group)
            if facts is not None and facts.sha256:
                files.append((sample.group, hash_of_file(facts.sha256)))
    elif there:
        groups = [sample.group for sample in dataset]
    if wanted and isinstance(inner, StoredCrops):  # its files are crops, and the hashes are those of whole pictures
        here = set(groups)
        files = [pair for pair in files_of(inner.store, np.arange(len(inner.store))) if pair[0] in here]
    return [Seen(0, 0, known=False) if one is None else one.seen(groups, files) for one in known]


def refuse_seen(name: str, seen: Seen, where: str, use: str, remedy: str, *, allow_seen: bool = False) -> str:
    """Refuse data on which a model was trained, or return a sentence that says what the use of them is worth.

    Args:
        name: Name and version of the model.
        seen: How much of the data it has seen.
        where: Name of the data.
        use: What the data are for, such as ``"calibrating"``.
        remedy: What to do instead, besides allowing it.
        allow_seen: Whether the user allows it.

    Returns:
        The sentence; empty where nothing of the data was seen.

    Raises:
        TrainingDataError: Some of the data were seen, and the user does not allow it.
    """
    if not seen.known:
        return f"{name}: its package does not say what it was trained on, so that it may have seen {where}"
    if seen:
        some = f"{name} was trained on {seen.count:,} of the {seen.total:,} groups of {where}, such as {seen.names[0]}"
        if not allow_seen:
            raise TrainingDataError(
                f"{some}: {use} by them would flatter it; {remedy}, or allow it by --allow-seen (allow_seen=True)"
            )
        return f"{some}; its results on them are better than on others"
    if not seen.complete:
        return f"{name}: its package does not say all that it was trained on, so that it may have seen {where}"
    if seen.validated:
        return (
            f"{name} was selected and calibrated on {seen.validated:,} of the {seen.total:,} groups of {where}; its "
            "results on them are a little better than on others"
        )
    return ""
