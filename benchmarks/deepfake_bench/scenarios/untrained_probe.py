"""How far a dataset gives its labels away: linear probes on the faces, without any trained network.

Framing, resolution, file format and colour can differ between the classes of a dataset. One probe gets the features of
the same network with random weights, which respond to texture; another one gets the face as a thumbnail, which shows
pose, framing and light. Their AUC is the baseline that a detector's accuracy has to be compared with, not 0.5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.job import Job
from deepfake_bench.records.predictions import Prediction, by_source
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.measures import means, source_accuracy
from deepfake_bench.scenarios.samples import describe, read_dataset
from deepfake_core.errors import MissingExtra
from deepfake_core.evaluation import probes
from deepfake_core.evaluation.evaluate import evaluate
from deepfake_core.evaluation.probes import FOLDS
from deepfake_core.handle.loaded import single
from deepfake_core.handle.predictor import Predictor
from deepfake_core.handle.results import Verdict
from deepfake_core.runtimes.torch_side import import_torch

Features: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

SEED = 0
PENALTY = 0.001
"""Inverse strength of the probes' L2 penalty: features are as many as samples."""
THUMBNAIL = 16
"""Side of the thumbnails in pixels."""

_BATCH = 32


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Measure the cross-validated AUC per source and probe; sources with fewer than 5 groups in a class have none.

    Raises:
        MissingExtra: torch or scikit-learn is absent.
        TrainingDataError: The dataset holds no samples.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    dataset = read_dataset(job.dataset, job.limit, pictures=True)
    rows = list(evaluate(detector, dataset, keep_crops=True))
    predictions = by_source(rows)
    network = untrained_features(detector)
    extracted = {name: extract for name, extract in (("network", network), ("pixels", thumbnails)) if extract}
    sources = [
        source_accuracy(name, _probed(rows, extract), 0.5, variant=probe, only=("auc",))
        for probe, extract in extracted.items()
        for name, rows in predictions.items()
    ]
    return ScenarioResult(
        metrics={
            f"auc_{probe}": mean["auc"]
            for probe in extracted
            if "auc" in (mean := means(row for row in sources if row.variant == probe))
        },
        sources=sources,
        dataset=describe(job.dataset, dataset, len(rows), job.limit),
        conditions={
            "probe": f"L2-regularised logistic regression (C = {PENALTY:g}) on standardised features, {FOLDS}-fold "
            "cross-validation by groups; scores of all folds together",
            "network": f"on what the last linear layer is given; random weights of seed {SEED}"
            if network
            else "left out: the network has no linear layer",
            "pixels": f"on the face's pixels, reduced to {THUMBNAIL} × {THUMBNAIL}",
            "videos": "left out",
        },
    )


def _probed(predictions: Sequence[Prediction], extract: Features) -> list[Prediction]:
    """Return the predictions with P(fake) from a probe that was fitted on the other folds."""
    rows = [(sample, dataclasses.replace(result, p_fake=None)) for sample, result in predictions]
    places = [place for place, (_, result) in enumerate(predictions) if result.faces]
    fake = np.array([rows[place][0].is_fake for place in places], dtype=np.int64)
    groups = np.array([rows[place][0].group for place in places], dtype=str)
    if min(len(np.unique(groups[fake == label])) for label in (0, 1)) < FOLDS:
        return rows
    faces = [max(predictions[place][1].faces, key=lambda face: face.confidence) for place in places]
    features = extract(np.stack([face.crop for face in faces if face.crop is not None]))
    for place, p_fake in zip(places, out_of_fold(features, fake, groups).tolist(), strict=True):
        sample, result = rows[place]
        verdict: Verdict = "fake" if p_fake >= 0.5 else "real"
        rows[place] = sample, dataclasses.replace(result, p_fake=p_fake, verdict=verdict)
    return rows


def out_of_fold(features: NDArray[Any], fake: NDArray[np.int64], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return P(fake) ``float64 [N]``, each from a probe that was not fitted on its group.

    Args:
        features: ``float32 [N, D]``.
        fake: Labels ``int64 [N]`` in {0, 1}.
        groups: Names of the groups ``[N]``.

    Raises:
        MissingExtra: scikit-learn is absent.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise MissingExtra("the untrained probe", "deepfake-core[torch]") from error
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000))
    return probes.out_of_fold(probe, features, fake, groups, method="predict_proba", seed=SEED)


def thumbnails(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the pixels ``float32 [N, D]`` of crops ``uint8 [N, H, W, 3]`` at :data:`THUMBNAIL` pixels a side."""
    side = (THUMBNAIL, THUMBNAIL)
    reduced = [cv2.resize(crop, side, interpolation=cv2.INTER_AREA).ravel() for crop in crops]
    return np.stack(reduced).astype(np.float32)


def untrained_features(detector: Predictor) -> Features | None:
    """Return a function from crops ``uint8 [N, H, W, 3]`` to features ``float32 [N, D]``.

    The features are the input of the last linear layer of the detector's network with random weights; ``None`` where
    it has no such layer.

    Raises:
        MissingExtra: torch is absent.
    """
    network = import_torch("untrained_network")(single(detector).detector, SEED)
    import torch

    from deepfake_core.contract.detector import WithPreprocess

    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        return None
    taken: list[NDArray[np.float32]] = []
    linear[-1].register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].flatten(1).numpy()))
    model = WithPreprocess(network, detector.manifest.preprocess).eval()

    def extract(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        taken.clear()
        with torch.inference_mode():
            for start in range(0, len(crops), _BATCH):
                model(torch.from_numpy(crops[start : start + _BATCH]))
        return np.concatenate(taken)

    return extract
