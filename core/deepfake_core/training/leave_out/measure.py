"""Judge a source with a model that was trained without it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.splits import subset_by_group
from deepfake_core.datasets.crop_store.store import SPLITS, CropStore
from deepfake_core.datasets.labels import some
from deepfake_core.datasets.sources import shared_reals
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.calibration import sigmoid
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.progress import stage
from deepfake_core.training.data.stores import Rows, damaged, divided
from deepfake_core.training.data.validation import validation_logits
from deepfake_core.training.data.views import StoreClips, StoreCrops
from deepfake_core.training.leave_out.figures import Scores, auc, share
from deepfake_core.training.leave_out.results import LeftOut
from deepfake_core.training.leave_out.start import Start
from deepfake_core.training.runs.files import read_json

log = logging.getLogger("deepfake.training")

SEED = 0
"""Seed of the choice of faces: every recipe is measured on the same ones."""


def rows_of(store: CropStore, source: str) -> Rows:
    """Return the rows of a source, without those of the dataset's own test split."""
    code = store.source_names[:].index(source)
    return np.flatnonzero((store.sources == code) & (store.splits != SPLITS.index("test")))


def obstacle(store: CropStore, recipe: TrainRecipe) -> str:
    """Return why a recipe cannot be run without the sources that it leaves out; empty where it can.

    Pairs make fakes of their own, so that real faces are enough for them.
    """
    try:
        training, held = divided(store, recipe)
    except TrainingDataError as error:
        return str(error)
    classes = ("real faces",) if recipe.samples == "pairs" else ("real faces", "fakes")
    for purpose, rows in (("train", training), ("validate", held)):
        for label, name in enumerate(classes):
            if not (store.fake[rows] == label).any():
                return f"no {name} are left to {purpose} on"
    return ""


@stage("judging the source that was left out")
def measure(
    loaded: LoadedDetector,
    store: CropStore,
    recipe: TrainRecipe,
    source: str,
    run: Path,
    faces: int,
    start: Start | None = None,
) -> tuple[LeftOut, Scores]:
    """Judge the faces of a source, and the held-out real faces of others where it has none.

    Whole groups are chosen by a hash, the same for every recipe. Faces are cut from the store as in validation.

    Args:
        loaded: Model that was trained without the source, loaded with the torch backend.
        store: Store that the model was trained from.
        recipe: Recipe of the run, which leaves the source out.
        source: Name of the source.
        run: Folder of the run.
        faces: Largest number of faces of the source that are judged, and of the others together.
        start: Model whose weights the run started from; what it was trained on is not judged.
    """
    every = rows_of(store, source)
    training, held = divided(store, recipe)
    unseen = start.unseen(store, every) if start else every
    own = _some(store, unseen, faces)
    beside: dict[str, list[str]] = {}
    if (store.fake[own] == 1).any() and not (store.fake[own] == 0).any():
        beside = _beside(store, held, source, recipe)
    pools = [_reals(store, held, name) for name in beside.get(source, ())]
    if start:
        pools = [start.unseen(store, pool) for pool in pools]
    rows = np.concatenate([own, *(_some(store, pool, max(1, faces // len(pools))) for pool in pools)])
    bad = damaged(store, rows)
    scores = _judged(loaded, store, rows[~np.isin(rows, list(bad))], source, recipe)
    ours = scores[scores.left_out]
    fakes, reals = ours[ours.fake == 1], ours[ours.fake == 0]
    metrics = read_json(run / "metrics.json").get("training", {})
    row = LeftOut(
        source=source,
        run=run.name,
        real=len(reals),
        fake=len(fakes),
        groups=len(np.unique(ours.group)),
        total=len(every),
        against=tuple(dict.fromkeys(scores.source[scores.fake == 0].tolist())) if len(fakes) else (),
        auc=auc(scores),
        found=share(fakes, fakes.found),
        called_fake=share(fakes, fakes.called_fake),
        false_fake=share(reals, reals.called_fake),
        validation_auc=loaded.manifest.metrics.get("validation", {}).get("auc"),
        steps=metrics.get("steps"),
        seconds=metrics.get("seconds"),
        warnings=tuple(_limits(store, own, training, loaded, beside.get(source), len(every) - len(unseen))),
    )
    return row, scores


def _some(store: CropStore, rows: Rows, most: int) -> Rows:
    """Return about ``most`` rows: whole groups, of both classes alike."""
    if len(rows) <= most:
        return rows
    kept = subset_by_group(store.groups[rows], most / len(rows), SEED, store.fake[rows], store.group_names)
    return rows[kept]


def _reals(store: CropStore, held: Rows, source: str) -> Rows:
    chosen = (store.fake[held] == 0) & (store.sources[held] == store.source_names[:].index(source))
    return held[np.flatnonzero(chosen)]


def _beside(store: CropStore, held: Rows, source: str, recipe: TrainRecipe) -> dict[str, list[str]]:
    """Return the sources whose held-out real faces the fakes of a source are compared with.

    They are those of its collection; or those that the recipe puts beside it; or else all.
    """
    reals = [store.source_names[int(code)] for code in np.unique(store.sources[held[store.fake[held] == 0]])]
    return shared_reals(reals, [source], recipe.pairs.beside) or {source: sorted(reals)}


def _judged(loaded: LoadedDetector, store: CropStore, rows: Rows, source: str, recipe: TrainRecipe) -> Scores:
    detector: Detector = loaded.detector
    views = StoreClips if recipe.samples == "clips" else StoreCrops
    images = views(store, rows, detector.preprocess)
    model = WithPreprocess(loaded.network, detector.preprocess).to(next(loaded.network.parameters()).device)
    logit = validation_logits(model, images)
    calibration = loaded.manifest.calibration
    p_fake = sigmoid(logit / calibration.temperature + calibration.bias)
    source_names = np.array([store.source_names[int(code)] for code in store.sources[images.rows]])
    return Scores(
        name=np.array([store.origin(int(row)) for row in images.rows]),
        source=source_names,
        group=np.array([store.group_names[int(code)] for code in store.groups[images.rows]]),
        fake=store.fake[images.rows],
        left_out=source_names == source,
        p_fake=p_fake,
        found=p_fake >= calibration.threshold,
        called_fake=np.array([calibration.verdict(p) == "fake" for p in p_fake.tolist()], bool),
    )


def _limits(
    store: CropStore, own: Rows, training: Rows, loaded: LoadedDetector, beside: list[str] | None, trained: int
) -> list[str]:
    """Say what limits the figures of a source, of which ``trained`` faces are not judged."""
    said = []
    if trained:
        said.append(
            "the weights that the runs start from have learnt from other faces of it, though from none of its fakes; "
            "those are not judged"
        )
    if shared := int(np.isin(store.families[own], np.unique(store.families[training])).sum()):
        said.append(
            f"{shared} of its {len(own)} faces show a person or a video that the run has trained on in other sources"
        )
    if beside is not None:
        said.append(f"it has no real faces: its fakes are compared with the held-out ones of {some(beside, 20)}")
    band = loaded.manifest.calibration
    if band.unsure_low <= 0 and band.unsure_high >= 1:
        said.append("the model does not tell fakes from real faces in its own validation: its verdict is always unsure")
    return said
