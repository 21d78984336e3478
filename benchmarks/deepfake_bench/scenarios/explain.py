"""Faithfulness of explanations: whether the score follows the places that a heat map marks.

The measures are insertion and deletion (Petsiuk et al. 2018, arXiv 1806.07421): the places of a face are shown on its
blurred copy, or hidden by it, the hottest first, while the score of the predicted class is recorded. Where a map marks
what the detector uses, the score rises early, and falls early. Random squares are the baseline: a map that does no
better explains nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.samples import describe, read_dataset
from deepfake_core.datasets import Sample
from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError, TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.evaluate import evaluate
from deepfake_core.explainers import Explainer, load_explainer
from deepfake_core.explainers.perturb import masked_logits
from deepfake_core.handle.predictor import Predictor
from deepfake_core.handle.results import FaceResult
from deepfake_core.runtimes.base import sigmoid

STEPS = 24
"""Steps from the blurred face to the sharp one, and back."""
CELLS = 14
"""Squares on a side of a random order."""
ORDERS = 3
"""Number of random orders for each face."""
LIMIT = 4
"""Images of each source and class, where no limit is set: every method scores each face hundreds of times."""

RANDOM = "random"


class Areas(NamedTuple):
    """Areas under the curves of one face, both in [0, 1]."""

    insertion: float
    deletion: float

    @property
    def faithfulness(self) -> float:
        """Insertion less deletion, from -1 to 1; 0 where the order of places makes no difference."""
        return self.insertion - self.deletion


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Explain the deciding face of every image by every method that the detector supports.

    Raises:
        TrainingDataError: The dataset holds no images, or no face is found in any.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    limit = job.limit or LIMIT
    dataset = read_dataset(job.dataset, limit, pictures=True)
    shown = [
        (sample, result.faces[0]) for sample, result in evaluate(detector, dataset, keep_crops=True) if result.faces
    ]
    if not shown:
        raise TrainingDataError(f"{job.dataset.path}: no face in any picture; name a dataset of faces")
    explainers, left_out = supported(detector, shown[0][1])
    areas: dict[str, list[Areas]] = {name: [] for name in (RANDOM, *explainers)}
    gains: dict[str, list[float]] = {name: [] for name in explainers}
    seconds: dict[str, list[float]] = {name: [] for name in explainers}
    for number, (_, face) in enumerate(shown):
        assert face.crop is not None
        target = "fake" if face.p_fake >= detector.manifest.calibration.threshold else "real"
        height, width = face.crop.shape[:2]
        orders = [random_heat(height, width, number * ORDERS + draw) for draw in range(ORDERS)]
        drawn = np.mean([insertion_deletion(detector, face.crop, heat, target) for heat in orders], axis=0)
        areas[RANDOM].append(Areas(float(drawn[0]), float(drawn[1])))
        for name, explainer in explainers.items():
            explainer.target = "real" if target == "real" and "real" in explainer.targets else "fake"
            argued = explainer.target if explainer.targets else target
            start = time.perf_counter()
            heat = explainer.explain(detector, face.crop)
            seconds[name].append(time.perf_counter() - start)
            areas[name].append(insertion_deletion(detector, face.crop, heat, argued))
            # The other class has the other probability, so that a random order's faithfulness changes its sign.
            chance = areas[RANDOM][-1].faithfulness * (1 if argued == target else -1)
            gains[name].append(areas[name][-1].faithfulness - chance)
    found = summarised(areas, gains, [sample for sample, _ in shown])
    best = max(explainers, key=lambda name: found[f"faithfulness_{name}"], default=RANDOM)
    return ScenarioResult(
        metrics={
            "faithfulness_best": found[f"faithfulness_{best}"],
            **found,
            **{f"seconds_{name}": float(np.median(spent)) for name, spent in seconds.items()},
        },
        samples={f"gain_{name}": values for name, values in gains.items()},
        dataset=describe(job.dataset, dataset, len(shown), limit),
        conditions={
            "best": f"{best}, chosen on these very faces",
            "faithfulness": "insertion AUC less deletion AUC of P(class), from -1 to 1; higher is better",
            "class": "the predicted one; always fake for a method that can argue for nothing else",
            "hidden": f"by the blurred face, in {STEPS} steps, hottest places first, ties at random; occlusion "
            "and rise hide in the same way, which favours them",
            "random": f"the same with {CELLS}×{CELLS} squares in random order, mean of {ORDERS} orders",
            "gain": "faithfulness less that of random orders on the same face; 95 % bootstrap interval over groups",
            "seconds": "median of one face, with its forward and backward passes",
            **{f"left out: {name}": reason for name, reason in left_out.items()},
        },
    )


def supported(detector: Predictor, face: FaceResult) -> tuple[dict[str, Explainer], dict[str, str]]:
    """Return the explainers that can explain a face of this detector, and why the others cannot; each is run once."""
    assert face.crop is not None
    found: dict[str, Explainer] = {}
    left_out: dict[str, str] = {}
    for name in plugins.explainers():
        try:
            explainer = load_explainer(name, detector)
            explainer.explain(detector, face.crop)
        except DeepfakeError as error:
            left_out[name] = str(error)
        else:
            found[name] = explainer
    return found, left_out


def insertion_deletion(detector: Predictor, crop: NDArray[np.uint8], heat: NDArray[np.float32], target: str) -> Areas:
    """Return the areas under P(target) while the hottest places are shown, and while they are hidden.

    Args:
        detector: Detector that is explained.
        crop: ``uint8 [H, W, 3]`` RGB.
        heat: Heat map ``float32 [H, W]``; only the order of its values counts.
        target: Class, ``fake`` or ``real``.
    """
    calibration = detector.manifest.calibration
    logits = masked_logits(detector, crop, _masks(heat))
    p_fake = sigmoid((logits / calibration.temperature + calibration.bias).astype(np.float32))
    curves = (p_fake if target == "fake" else 1.0 - p_fake).reshape(2, STEPS + 1)
    return Areas(*(float(np.trapezoid(curve, dx=1.0 / STEPS)) for curve in curves))


def _masks(heat: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield masks from nothing to everything shown, then from everything to nothing; hottest places come first."""
    ties = np.random.default_rng(0).permutation(heat.size)
    rank = np.empty(heat.size, np.int64)
    rank[np.lexsort((ties, -heat.ravel()))] = np.arange(heat.size)
    for hidden in (False, True):
        for step in range(STEPS + 1):
            named = rank < round(heat.size * step / STEPS)
            yield (named != hidden).astype(np.float32).reshape(heat.shape)


def random_heat(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Return squares in random order, ``float32 [height, width]``.

    Heat maps are smooth, so an order of single pixels would be no fair baseline.
    """
    cells = np.random.default_rng(seed).permutation(CELLS * CELLS).astype(np.float32).reshape(CELLS, CELLS)
    rows, columns = (np.arange(side) * CELLS // side for side in (height, width))
    return cells[rows][:, columns]


def summarised(
    areas: Mapping[str, Sequence[Areas]], gains: Mapping[str, Sequence[float]], samples: Sequence[Sample]
) -> dict[str, float]:
    """Return means over all faces, and intervals of the gains over random orders."""
    groups = np.array([sample.group for sample in samples], dtype=str)
    found: dict[str, float] = {}
    for name, pairs in areas.items():
        found[f"faithfulness_{name}"] = float(np.mean([pair.faithfulness for pair in pairs]))
        found[f"insertion_auc_{name}"] = float(np.mean([pair.insertion for pair in pairs]))
        found[f"deletion_auc_{name}"] = float(np.mean([pair.deletion for pair in pairs]))
    for name, gain in gains.items():
        low, high = metrics.grouped_bootstrap(
            np.zeros(len(gain)), gain, groups, lambda _, drawn: float(drawn.mean()), rate=False
        )
        found[f"gain_{name}"], found[f"gain_low_{name}"], found[f"gain_high_{name}"] = float(np.mean(gain)), low, high
    return found
