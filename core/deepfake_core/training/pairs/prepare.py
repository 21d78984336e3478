"""Preparation of a run that trains on pairs: faces, their split, reconstructions and the validation set."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.crops.prepare import spread
from deepfake_core.data.fact_cache import locked_cache
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.data.splits import subset_by_group
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.files import file_state
from deepfake_core.datasets.labels import counted, labels_read
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.grouping import places
from deepfake_core.inputs.faces import WEIGHTS
from deepfake_core.training.data.stores import SplitIdentity, fingerprint
from deepfake_core.training.data.training_data import TrainingData
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.pairs.face_table import FaceTable, split_by_group
from deepfake_core.training.pairs.faces import find_faces, load_crops
from deepfake_core.training.pairs.maker import PairMaker, PairSource
from deepfake_core.training.pairs.pairs import PairDataset, validation_pairs
from deepfake_core.training.pairs.reconstruct import VALIDATION_DECODER, load_reconstructions, training_decoders
from deepfake_registry.manifest import FaceCrop

log = logging.getLogger("deepfake.training")

DATA_SEED = 42
"""Seed of the autoencoders and of the validation pairs: runs with different seeds of the recipe can be compared."""


def pairs_training_data(
    detector: Detector, dataset: Dataset, recipe: TrainRecipe, cache_dir: Path, device: torch.device
) -> TrainingData:
    """Find faces, cut them out, split them by group, and make reconstructions and the validation set.

    Args:
        detector: Detector to train, whose preprocessing decides the crops.
        dataset: Data to train on; its test split is left out.
        recipe: Recipe of the run.
        cache_dir: Folder in which faces, crops and reconstructions are kept.
        device: Device on which the autoencoders are trained.

    Raises:
        TrainingDataError: The detector takes whole pictures, or the data are unusable.
    """
    margin = face_margin(detector)
    if recipe.overfit:
        raise TrainingDataError("samples='pairs' draws every pair anew; overfit a few of samples='pictures' instead")
    samples = [sample for sample in dataset if sample.split != "test"]
    samples = list(spread(samples, len(samples), recipe.max_images or len(samples)))
    log.info("%s: %s", dataset.root, labels_read(counted(samples)))
    training_identity = SplitIdentity.of(sample for sample in samples if sample.split != "valid")
    validation_identity = SplitIdentity.of(sample for sample in samples if sample.split == "valid")
    training_identity.check_disjoint(validation_identity, "training and validation", recipe)
    table_file = _table_file(samples, cache_dir, dataset.state)
    table, training, held_out = _pair_sources(dataset, samples, table_file, recipe, device)
    validation = _pair_validation(detector, held_out, dataset, recipe, cache_dir, margin)
    return TrainingData(
        PairDataset(
            PairMaker(training),
            recipe,
            size=detector.preprocess.resize.height,
            margin=margin,
            cells=detector.evidence_size[0] if detector.evidence_size else 1,
        ),
        validation,
        dict(sorted(Counter(zip(table.sources.tolist(), table.fake.tolist(), strict=True)).items())),
        fingerprint(
            "\n".join([*table.paths.tolist(), *table.digests.tolist()]), table.boxes, table.fake.astype(np.float32)
        ),
        len(samples),
        training_identity | validation_identity,
        table.paths[training.rows[:10]].tolist(),
        dict(table.rejected),
        hashes=_hashes(table_file),
    )


def face_margin(detector: Detector) -> float:
    """Return the crop margin of a detector: the side of its crop over the longer side of the face box.

    Raises:
        TrainingDataError: The detector takes whole pictures, of which no pairs can be made.
    """
    crop = detector.preprocess.crop
    if not isinstance(crop, FaceCrop):
        raise TrainingDataError(
            f"{type(detector).__name__} takes whole pictures, but samples='pairs' makes pairs of faces: let it crop "
            "them, or train it on samples='pictures'"
        )
    return crop.margin


def _table_file(
    samples: Sequence[Sample],
    cache_dir: Path,
    state: Callable[[Sample], object] = lambda sample: file_state(sample.path),
) -> Path:
    """Return the file that keeps the faces of these samples, as long as their files stay as they are.

    Args:
        samples: Samples to look for faces in.
        cache_dir: Folder of the file.
        state: Function that tells whether the file of a sample is still the same: :meth:`Dataset.state`.
    """
    key = hashlib.sha256(WEIGHTS.encode())
    for sample in samples:
        names = f"{int(sample.is_fake)} {sample.source} {sample.group} {sample.name} {sample.identities}"
        key.update(os.fsencode(f"{names} {state(sample)!r}\n"))
    return cache_dir / f"faces-{key.hexdigest()[:16]}.npz"


def _hashes(table_file: Path) -> Path:
    """Return the file that keeps the hashes of the pictures in which the faces of ``table_file`` were found."""
    return table_file.with_suffix(".hashes")


def _pair_sources(
    dataset: Dataset, samples: Sequence[Sample], table_file: Path, recipe: TrainRecipe, device: torch.device
) -> tuple[FaceTable, PairSource, PairSource]:
    """Return all faces, the source of training pairs and the source of validation pairs."""
    cache_dir = table_file.parent
    cache_dir.mkdir(parents=True, exist_ok=True)
    with locked_cache(_hashes(table_file)) as hashes:
        if not table_file.exists():
            find_faces(samples, dataset, hashes).save(table_file)
    table = FaceTable.read(table_file)
    pixels = load_crops(table, dataset, cache_dir)
    rows, held_out = split_by_group(table, recipe.validation_share)
    if own := {relative_name(sample, folder_of(dataset)) for sample in samples if sample.split == "valid"}:
        held = np.array([name in own for name in table.paths.tolist()])
        rows, held_out = np.flatnonzero(~held), np.flatnonzero(held)
    strata = list(zip(table.sources[rows].tolist(), table.fake[rows].tolist(), strict=True))
    rows = rows[subset_by_group(table.families[rows].tolist(), recipe.data_share, recipe.seed, strata)]
    pairs = recipe.pairs
    reconstructed = np.empty(0, np.intp)
    reconstructions: list[NDArray[np.uint8]] = []
    if pairs.pseudo.reconstruct:
        real = np.flatnonzero(table.fake == 0)
        reconstructed = real[:: max(1, -(-len(real) // pairs.reconstructed))]
        reconstructions = load_reconstructions(
            pixels,
            reconstructed,
            np.intersect1d(real, rows),
            cache_dir,
            steps=pairs.autoencoder_steps,
            device=device,
            seed=DATA_SEED,
        )
    decoders = training_decoders(len(reconstructions))
    kept = (VALIDATION_DECODER,) if reconstructions else ()
    training = PairSource(table, pixels, rows, reconstructions, reconstructed, decoders)
    return table, training, PairSource(table, pixels, held_out, reconstructions, reconstructed, kept)


def _pair_validation(
    detector: Detector, source: PairSource, dataset: Dataset, recipe: TrainRecipe, cache_dir: Path, margin: float
) -> ValidationSet:
    """Return pseudo-fakes of every family from held-out faces, and held-out labelled faces as at inference."""
    maker = PairMaker(source)
    spec = detector.preprocess
    images, fake, family, names = [], [], [], []
    for number, kind in enumerate(kind for kind in maker.families() if kind != "labelled"):
        made, target = validation_pairs(
            maker,
            kind,
            count=recipe.pairs.validation,
            size=spec.resize.height,
            margin=margin,
            seed=DATA_SEED + 1000 + number,
        )
        images.append(made)
        fake.append(target)
        family += [kind] * len(target)
        names += [f"{kind} {index}" for index in range(len(target))]
    rows = _per_source(source.table, source.rows, recipe.pairs.validation)
    images.append(load_crops(source.table, dataset, cache_dir, spec)[rows])
    fake.append(source.table.fake[rows].astype(np.float32))
    family += source.table.sources[rows].tolist()
    names += source.table.paths[rows].tolist()
    return ValidationSet(np.concatenate(images), np.concatenate(fake), np.array(family), names)


def _per_source(table: FaceTable, rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return at most ``most`` rows of every source and class, evenly spread."""
    kept = []
    for found in places(table.sources[rows]).values():
        for fake in (0, 1):
            here = rows[found][table.fake[rows[found]] == fake]
            kept.append(here[:: max(1, -(-len(here) // most))])
    return np.sort(np.concatenate(kept))
