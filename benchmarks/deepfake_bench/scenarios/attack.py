"""Accuracy against an attacker who has the network: each face is changed by a few levels to be classified wrongly.

The attack is projected gradient descent (Madry et al. 2018, arXiv 1706.06083) on the crop that the network sees. Its
result is a lower bound: a detector that withstands it may still fall to a better attack, one that does not is easy to
fool. Random changes of the same size are measured for comparison.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.job import Job
from deepfake_bench.records.predictions import Prediction, write_predictions
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.measures import means
from deepfake_bench.scenarios.robustness import paired_rows
from deepfake_bench.scenarios.samples import describe, mark_seen, read_dataset, refusal
from deepfake_core.errors import MissingExtra, TrainingDataError
from deepfake_core.evaluation.evaluate import evaluate
from deepfake_core.handle.loaded import single
from deepfake_core.handle.predictor import Predictor
from deepfake_core.protect.attacks import pgd, shaken
from deepfake_core.runtimes.base import sigmoid
from deepfake_core.runtimes.threads import allowed_threads

if TYPE_CHECKING:
    from torch import Tensor, nn

LEVELS = (1, 2, 4)
"""Largest change of a channel of a pixel, in levels of 255."""
STEPS = 10
"""Steps of gradient descent for the smallest bound."""
FURTHER = 5
"""Steps for a larger bound, which goes on where the smaller one ended."""
LIMIT = 8
"""Images of each source and class, where no limit is set."""
PLUMBING_LIMIT = 2
"""Images of each class of the embedded set, whose figures mean nothing, where no limit is set."""
CLEAN = "clean"

_BATCH = 8


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Attack the deciding face of every image in torch, and score it with the backend that was asked for.

    Raises:
        MissingExtra: torch is absent.
        WeightsUnavailable: There is no network, but only an exported file.
        TrainingDataError: The dataset holds no images, or no face is found in any.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    model = whole_network(detector, job.threads or allowed_threads())
    limit = job.limit or (PLUMBING_LIMIT if job.dataset == PLUMBING else LIMIT)
    dataset = read_dataset(job.dataset, limit, pictures=True)
    shown = [pair for pair in evaluate(detector, dataset, keep_crops=True) if pair[1].faces]
    if not shown:
        raise TrainingDataError(f"{job.dataset.path}: no face in any picture; name a dataset of faces")
    crops = np.stack([face.crop for _, result in shown if (face := result.faces[0]).crop is not None])
    fake = np.array([sample.is_fake for sample, _ in shown], dtype=np.int64)
    variants = {CLEAN: crops, f"random_{LEVELS[-1]}": shaken(crops, LEVELS[-1])}
    weaker = None
    for levels in LEVELS:
        variants[f"pgd_{levels}"] = weaker = attacked(model, crops, fake, levels, weaker)
    again = {variant: rescored(detector, shown, changed) for variant, changed in variants.items()}
    again, seen = mark_seen(again, detector, dataset)
    if job.predictions:
        write_predictions(Path(job.predictions), again)
    described = describe(job.dataset, dataset, len(shown), limit)
    refused = refusal(detector, dataset, described)
    threshold = detector.manifest.calibration.threshold
    rows = paired_rows(again, CLEAN, threshold, fitted_here=bool(refused))
    found = {variant: means(row for row in rows if row.variant == variant) for variant in variants}
    return ScenarioResult(
        metrics={f"{name}_{variant}": value for variant, mean in found.items() for name, value in mean.items()},
        sources=rows,
        dataset=described,
        conditions={
            **refused,
            **seen,
            "faces": _counted(shown, len(dataset.samples)),
            "interval": "95 %, from 1000 bootstrap draws of whole groups",
            "auc_change": "less the AUC of the same faces as they are; paired interval",
            "pgd": f"projected gradient descent on the crop, towards the other class: {STEPS} steps for the smallest "
            f"bound, from there {FURTHER} more for each larger one; the number is the largest change of a channel, in "
            "levels of 255, after rounding",
            "random": "every channel up or down by the whole bound, at random",
            "gradients": "of the network in torch; judged by the backend of this row",
        },
    )


def _counted(shown: Sequence[Prediction], looked_at: int) -> str:
    """Return in words how many faces the figures are made on, and of how many files."""
    counts = Counter((sample.source, sample.is_fake) for sample, _ in shown)
    sources = sorted({source for source, _ in counts})
    each = ", ".join(f"{source} {counts[source, False]} real and {counts[source, True]} fake" for source in sources)
    return f"{len(shown)}, the deciding one of each file that has any, of {looked_at} files: {each}"


def whole_network(detector: Predictor, threads: int) -> nn.Module:
    """Return the network behind its normalisation: ``float32 [N, H, W, 3]`` in [0, 255] → output, with gradients.

    Args:
        detector: Detector whose network is returned.
        threads: Threads of torch, for the whole process.

    Raises:
        MissingExtra: torch is absent.
        WeightsUnavailable: There is no network, but only an exported file.
    """
    try:
        import torch

        from deepfake_core.contract.detector import WithPreprocess
    except ModuleNotFoundError as error:
        raise MissingExtra("the scenario attack", "deepfake-core[torch]") from error
    torch.set_num_threads(threads)
    network = single(detector).network
    device = next(network.parameters()).device
    return WithPreprocess(network, detector.manifest.preprocess).to(device).eval()


def attacked(
    model: nn.Module,
    crops: NDArray[np.uint8],
    fake: NDArray[np.int64],
    levels: int,
    weaker: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return ``uint8 [N, H, W, 3]``: crops changed in each channel so that fakes score lower and reals higher.

    Args:
        model: Network, see :func:`whole_network`.
        crops: ``uint8 [N, H, W, 3]`` RGB, as the network sees them.
        fake: Labels ``int64 [N]`` in {0, 1}.
        levels: Largest change of a channel, in levels of 255.
        weaker: Crops under an attack by fewer levels, to go on from.
    """
    import torch

    device = next(model.parameters()).device
    towards = torch.from_numpy(1.0 - 2.0 * fake).to(device, torch.float32)

    def fooled(_clean: Tensor, changed: Tensor, rows: slice) -> Tensor:
        output = model(255 * changed.permute(0, 2, 3, 1))
        logit: Tensor = output[0] if isinstance(output, tuple) else output
        return towards[rows] * logit

    about = f"attacking by {levels} of 255 levels"
    steps = STEPS if weaker is None else FURTHER
    return pgd(fooled, crops, levels, steps=steps, batch=_BATCH, device=device, begin=weaker, about=about)


def rescored(detector: Predictor, shown: Sequence[Prediction], crops: NDArray[np.uint8]) -> list[Prediction]:
    """Return the predictions with the score of another crop of the deciding face, and without other faces.

    Args:
        detector: Detector that scores the crops.
        shown: Predictions ``[N]``.
        crops: ``uint8 [N, H, W, 3]`` RGB, one of each prediction.
    """
    calibration = detector.manifest.calibration
    logits = detector.score(crops, batch_size=_BATCH).logit
    scores = sigmoid((logits / calibration.temperature + calibration.bias).astype(np.float32))
    found = []
    for (sample, result), crop, logit, p_fake in zip(shown, crops, logits.tolist(), scores.tolist(), strict=True):
        verdict = {"p_fake": p_fake, "verdict": calibration.verdict(p_fake)}
        face = dataclasses.replace(result.faces[0], crop=crop, logit=logit, **verdict)
        found.append((sample, dataclasses.replace(result, faces=(face,), **verdict)))
    return found
