"""The audit of the training samples as the recipe draws and degrades them, before training starts."""

from __future__ import annotations

import logging
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import Draw, TrainingSet
from deepfake_core.data.audit.audit import audit
from deepfake_core.data.audit.features import NAMES, features_of
from deepfake_core.data.audit.result import BOUND, Shortcuts
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import stage, track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.runs.files import read_json
from deepfake_core.training.runs.rundir import SHORTCUTS, RunDir

log = logging.getLogger("deepfake.training")

SHOWN = 3
"""Shortcuts of which a line of the log says what to do about them."""


def drawn_shortcuts(training: TrainingSet, recipe: TrainRecipe, *, plain: bool = False) -> Shortcuts | None:
    """Measure how well the classes of the training samples are told apart by what has nothing to do with forgery.

    The sources are those of labelled samples; in pairs, also the ways in which fakes are made of real faces. Of a clip,
    the frame in its middle is measured.

    Args:
        training: Training samples.
        recipe: Recipe with the number of samples.
        plain: Whether to measure the labelled samples as the data have them, without degradation and matching.

    Returns:
        The findings; ``None`` where the samples are too few, or the training set does not say what it draws.

    Raises:
        MissingExtra: scikit-learn is absent.
    """
    draws = list(training.draws(recipe.shortcut_samples, plain=plain))
    rows: list[NDArray[np.float32]] = []
    facts: list[tuple[int, int, str]] = []
    unreadable = 0
    with closing(ordered_map(_numbers, draws, workers=allowed_threads())) as measured:
        what = "measuring data" if plain else "measuring samples"
        for draw, found in zip(draws, track(measured, what, total=len(draws), unit="samples"), strict=True):
            unreadable += found is None
            if found is not None:
                rows += list(found)
                facts += [(fake, group, draw.source) for fake, group in zip(draw.fake, draw.groups, strict=True)]
    if not rows:
        return None
    fake, group, source = zip(*facts, strict=True)
    try:
        return audit(np.stack(rows), NAMES, fake, group, source)
    except TrainingDataError as error:
        log.info("shortcuts are not measured: %s", error)
        return None


@stage("measuring shortcuts")
def audit_run(training: TrainingSet, recipe: TrainRecipe, run: RunDir) -> None:
    """Audit the samples of a run, write ``shortcuts.json`` and name the strongest shortcuts in the log.

    A run that is resumed keeps what it found at its start.

    Args:
        training: Training samples of the run.
        recipe: Recipe of the run; nothing is done where its ``shortcut_samples`` is 0, or it overfits a few samples.
        run: Folder of the run.
    """
    if not recipe.shortcut_samples or recipe.overfit or (run.resumed and (run.folder / SHORTCUTS).exists()):
        return
    if find_spec("sklearn") is None:
        log.warning("shortcuts are not measured: scikit-learn is not installed (pip install 'deepfake-core[data]')")
        return
    drawn = drawn_shortcuts(training, recipe)
    if drawn is None:
        return
    data = drawn_shortcuts(training, recipe, plain=True)
    run.write_json(SHORTCUTS, {"data": data and data.to_dict(), "drawn": drawn.to_dict()})
    above = drawn.exceeds()
    for finding in above[:SHOWN]:
        log.warning("%s; %s", finding, finding.remedy)
    if len(above) > SHOWN:
        log.warning("%d more shortcuts are in %s", len(above) - SHOWN, run.folder / SHORTCUTS)
    if not above and drawn.worst:
        log.info("nothing certainly tells the classes apart above AUC %.2f; strongest: %s", BOUND, drawn.worst[0])


def shortcuts_of(run: RunDir) -> dict[str, Any]:
    """Return the shortcuts of a run for the metrics of its manifest, in short; empty where none were measured.

    ``{"shortcuts": {"data": …, "drawn": …}}``, each as :meth:`~deepfake_core.data.audit.result.Shortcuts.short` has it.
    """
    found = {
        name: Shortcuts.from_dict(content).short()
        for name, content in read_json(run.folder / SHORTCUTS).items()
        if content
    }
    return {"shortcuts": found} if found else {}


def _numbers(draw: Draw) -> NDArray[np.float32] | None:
    """Return the numbers of the samples of an item, ``float32 [group, F]``; ``None`` where one cannot be read."""
    try:
        images = draw.make()
    except InputError:  # the loop counts and names such items
        return None
    if images.ndim == 5:
        images = images[:, images.shape[1] // 2]
    return np.stack([features_of(image, min(image.shape[:2])) for image in images])
