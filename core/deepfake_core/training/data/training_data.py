"""From a dataset to what a run trains on and validates on, as the recipe's ``samples`` says."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.data.crops.prepare import spread
from deepfake_core.data.fact_cache import locked_cache
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.data.splits import subset_by_group
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.labels import some
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.augment import Augment
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.pairs.faces import UNUSABLE, FaceTable, find_faces, load_crops, split_by_group
from deepfake_core.training.pairs.pairs import PairDataset, PairMaker, PairSource, training_decoders, validation_pairs
from deepfake_core.training.pairs.reconstruct import VALIDATION_DECODER, load_reconstructions
from deepfake_registry.manifest import FaceCrop

log = logging.getLogger("deepfake.training")

ROLES = ("real", "fake")
"""What a manifest calls the classes 0 and 1 of a source."""
DATA_SEED = 42
"""Decides the autoencoders and the validation pairs, so that runs with different seeds can be compared."""


@dataclass(frozen=True)
class Shown:
    """What splits must not share.

    Attributes:
        groups: Videos, sequences or whatever else must not be divided.
        persons: Everyone who is named.
    """

    groups: frozenset[str] = frozenset()
    persons: frozenset[str] = frozenset()

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Shown:
        """What samples show."""
        groups: set[str] = set()
        persons: set[str] = set()
        for sample in samples:
            groups.add(sample.group)
            persons.update(sample.identities)
        return cls(frozenset(groups), frozenset(persons))

    def __or__(self, other: Shown) -> Shown:
        return Shown(self.groups | other.groups, self.persons | other.persons)

    def apart(self, other: Shown, splits: str, recipe: TrainRecipe) -> None:
        """Refuse splits that share a group or, unless the recipe allows it, a person (resolution 7).

        Raises:
            TrainingDataError: They do; some are named.
        """
        kind, shared, remedy = "groups", self.groups & other.groups, ""
        if not shared and not recipe.allow_shared_identities:
            kind, shared = "persons", self.persons & other.persons
            remedy = ", or set allow_shared_identities=true where the protocol shares them"
        if shared:
            raise TrainingDataError(
                f"{splits} share {len(shared)} {kind}: {some(sorted(shared))}; split the data anew "
                f"(dfbench data split){remedy}"
            )


@dataclass(frozen=True)
class Material:
    """What a run takes.

    Attributes:
        training: Samples by epoch and item.
        validation: Held-out pictures; the same for every seed.
        counts: Pictures used of each source and class: ``(source, fake)`` → number.
        content: Hex sha256 over all that was prepared: the pictures' files, faces and labels.
        files: Files that were looked at, whether or not they are used.
        shown: Groups and persons of training and validation, which no test sample may share.
        first: Names of the first training pictures, for the log.
        rejected: Files that were left out, with the reason.
        on_device: Makes what changes images on a device; ``None`` where the loading processes do it all.
        hashes: Where :func:`~deepfake_core.data.manifest.held_out_hashes` finds what was read; ``None`` where nothing
            was.
    """

    training: TrainingSet
    validation: ValidationSet
    counts: Mapping[tuple[str, int], int]
    content: str
    files: int
    shown: Shown
    first: Sequence[str] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    on_device: Callable[[torch.device], Augment] | None = None
    hashes: Path | None = None

    @property
    def fingerprint(self) -> str:
        """Hex sha256 that changes with the validation samples; runs with the same one can be compared."""
        return fingerprint("\n".join(self.validation.names), self.validation.fake)

    def described(self, dataset: Dataset) -> dict[str, Any]:
        """For the run's ``data.json``."""
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
        """What changes images on the device, where the recipe asks for it."""
        return self.on_device(device) if self.on_device else None

    def check(self, recipe: TrainRecipe) -> None:
        """Stop where nothing can be validated, or more of the data was left out than the recipe allows (001-26).

        Raises:
            TrainingDataError: Too many files cannot be read, of which some are named; or validation has one class.
        """
        self.validation.check()
        unreadable = [name for name, reason in self.rejected.items() if reason not in UNUSABLE]
        if len(unreadable) > recipe.max_bad * self.files:
            raise TrainingDataError(
                f"{len(unreadable)} of {self.files} files cannot be read, more than max_bad={recipe.max_bad:.3g} "
                f"allows: {some(unreadable)}; repair or remove them (dfbench data check finds them all), or raise "
                "max_bad"
            )


def check_samples(detector: Detector, recipe: TrainRecipe) -> None:
    """Make sure that a detector takes what the recipe trains on.

    Raises:
        TrainingDataError: It takes clips and the recipe has none, or the reverse; or pairs are to be made of whole
            pictures.
    """
    if (recipe.samples == "clips") != (detector.preprocess.clip is not None):
        takes = "clips" if detector.preprocess.clip else "pictures"
        raise TrainingDataError(
            f"{type(detector).__name__} takes {takes}, but the recipe has samples={recipe.samples!r}; choose another "
            f"recipe (dfbench recipes), or --set samples={takes}"
        )
    if recipe.samples == "pairs":
        face_margin(detector)


def gather(
    detector: Detector,
    dataset: Dataset,
    valid: Dataset | None,
    recipe: TrainRecipe,
    cache_dir: Path,
    device: torch.device,
) -> Material:
    """What ``samples`` of the recipe says, from a dataset and, where it is given, another one to validate on.

    Raises:
        TrainingDataError: The data are unusable, or the splits share a group, a person or a file.
    """
    if recipe.samples == "pairs":
        if valid is not None:
            raise TrainingDataError("samples='pairs' holds out faces of the training data; leave out --valid")
        return pairs_material(detector, dataset, recipe, cache_dir, device)
    from deepfake_core.training.data.labelled import labelled_material

    return labelled_material(detector, dataset, valid, recipe, cache_dir)


def test_samples(dataset: Dataset, test: Dataset | None) -> tuple[Dataset, list[Sample]] | None:
    """What to test on: all of ``test``, or the test split of ``dataset``; ``None`` where there is neither."""
    if test is not None:
        every = list(test)
        return test, [sample for sample in every if sample.split == "test"] or every
    own = [sample for sample in dataset if sample.split == "test"]
    return (dataset, own) if own else None


def pairs_material(
    detector: Detector, dataset: Dataset, recipe: TrainRecipe, cache_dir: Path, device: torch.device
) -> Material:
    """Find faces, cut them, split them by group, make reconstructions and the validation set.

    Raises:
        TrainingDataError: The detector does not crop faces, or the data are unusable.
    """
    margin = face_margin(detector)
    if recipe.overfit:
        raise TrainingDataError("samples='pairs' draws every pair anew; overfit a few of samples='pictures' instead")
    samples = [sample for sample in dataset if sample.split != "test"]
    samples = list(spread(samples, len(samples), recipe.max_images or len(samples)))
    training_shows = Shown.of(sample for sample in samples if sample.split != "valid")
    validation_shows = Shown.of(sample for sample in samples if sample.split == "valid")
    training_shows.apart(validation_shows, "training and validation", recipe)
    table_file = _table_file(samples, cache_dir)
    table, training, held_out = _pair_sources(dataset, samples, table_file, recipe, device)
    validation = _pair_validation(detector, held_out, dataset, recipe, cache_dir, margin)
    return Material(
        PairDataset(
            PairMaker(training),
            recipe,
            size=detector.preprocess.resize.height,
            margin=margin,
            cells=detector.evidence_size[0] if detector.evidence_size else 1,
        ),
        validation,
        dict(sorted(Counter(zip(table.sources.tolist(), table.fake.tolist(), strict=True)).items())),
        fingerprint("\n".join(table.paths.tolist()), table.boxes, table.fake.astype(np.float32)),
        len(samples),
        training_shows | validation_shows,
        table.paths[training.rows[:10]].tolist(),
        dict(table.rejected),
        hashes=_hashes(table_file),
    )


def face_margin(detector: Detector) -> float:
    """Side of the detector's crop over the longer side of the face box.

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


def _table_file(samples: Sequence[Sample], cache_dir: Path) -> Path:
    """Where the faces of samples are kept."""
    listed = "\n".join(f"{int(sample.is_fake)} {sample.source} {sample.group} {sample.name}" for sample in samples)
    return cache_dir / f"faces-{hashlib.sha256(os.fsencode(listed)).hexdigest()[:16]}.npz"


def _hashes(table_file: Path) -> Path:
    """Where the hashes are kept that were found with the faces."""
    return table_file.with_suffix(".hashes")


def _pair_sources(
    dataset: Dataset, samples: Sequence[Sample], table_file: Path, recipe: TrainRecipe, device: torch.device
) -> tuple[FaceTable, PairSource, PairSource]:
    """The faces, those that train and those that validate."""
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
    """Held-out faces: made fakes of every family, and the labelled ones through the inference preprocessing."""
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
    """At most ``most`` rows of every source and class, evenly spread."""
    kept = []
    for source in np.unique(table.sources[rows]):
        for fake in (0, 1):
            here = rows[(table.sources[rows] == source) & (table.fake[rows] == fake)]
            kept.append(here[:: max(1, -(-len(here) // most))])
    return np.sort(np.concatenate(kept))


def fingerprint(*parts: str | NDArray[np.float32]) -> str:
    """Hex sha256 of texts and arrays, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()
