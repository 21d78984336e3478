"""Accuracy against someone who has the network: each face is changed by a few levels so as to be judged wrongly.

Projected gradient descent (Madry et al. 2018, arXiv 1706.06083) on the crop that the network sees. What it shows is a
lower bound: a detector that holds here may still fall to a better attack, one that falls here is easy to fool. Random
changes of the same size stand beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.jobs import Job
from deepfake_bench.report import SourceAccuracy
from deepfake_bench.scenarios import Outcome
from deepfake_bench.scenarios.accuracy import (
    Judged,
    by_source,
    describe,
    means,
    read_dataset,
    refusal,
    source_accuracy,
)
from deepfake_core.errors import MissingExtra, TrainingDataError
from deepfake_core.judged import judged
from deepfake_core.judging import probabilities
from deepfake_core.loaded import LoadedDetector

if TYPE_CHECKING:
    from torch import nn

LEVELS = (1, 2, 4)
"""Largest change of a pixel's channel, of 255."""
STEPS = 10
LIMIT = 8
"""Pictures of each source and class, where no limit is set."""
SEED = 0

_BATCH = 8
_MEASURES = ("auc", "balanced_accuracy", "fakes_found", "reals_passed")


def measure(detector: LoadedDetector, job: Job) -> Outcome:
    """Attack the deciding face of every picture in torch, and judge it by the backend that was asked for.

    Raises:
        MissingExtra: torch is absent.
        WeightsUnavailable: There is no network at hand, but only an exported file.
        TrainingDataError: The dataset holds no pictures, or no face is found in any.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    model = whole_network(detector)
    limit = job.limit or LIMIT
    dataset = read_dataset(job.dataset, limit, pictures=True)
    shown = [pair for pair in judged(detector, dataset, keep_crops=True) if pair[1].faces]
    if not shown:
        raise TrainingDataError(f"{job.dataset.path}: no face in any picture; name a dataset of faces")
    crops = np.stack([face.crop for _, result in shown if (face := result.faces[0]).crop is not None])
    fake = np.array([sample.fake for sample, _ in shown], dtype=np.int64)
    described = describe(job.dataset, dataset, len(shown), limit)
    refused = refusal(detector, dataset, described)
    variants = {"clean": crops, f"noise_{LEVELS[-1]}": shaken(crops, LEVELS[-1])}
    variants |= {f"pgd_{levels}": attacked(model, crops, fake, levels) for levels in LEVELS}
    threshold = detector.manifest.calibration.threshold
    rows: list[SourceAccuracy] = []
    for variant, changed in variants.items():
        for name, pairs in by_source(rejudged(detector, shown, changed)).items():
            row = source_accuracy(name, pairs, threshold, variant=variant, only=_MEASURES, fitted_here=bool(refused))
            rows.append(row)
    found = {variant: means(row for row in rows if row.variant == variant) for variant in variants}
    return Outcome(
        metrics={f"{name}_{variant}": value for variant, mean in found.items() for name, value in mean.items()},
        sources=rows,
        dataset=described,
        conditions={
            **refused,
            "pgd": f"projected gradient descent on the crop, {STEPS} steps, towards the other class; the number is the "
            "largest change of a channel, in levels of 255, after rounding",
            "noise": "every channel up or down by the whole bound, at random",
            "gradients": "of the network in torch; judged by the backend of this row",
            "face": "the deciding one; pictures without a face are left out",
        },
    )


def whole_network(detector: LoadedDetector) -> nn.Module:
    """``float32 [N, H, W, 3]`` in [0, 255] → what the network returns; it passes gradients on.

    Raises:
        MissingExtra: torch is absent.
        WeightsUnavailable: There is no network at hand, but only an exported file.
    """
    try:
        from deepfake_core.detector import WithPreprocess
    except ModuleNotFoundError as error:
        raise MissingExtra("the scenario attack", "deepfake-core[torch]") from error
    network = detector.network
    device = next(network.parameters()).device
    return WithPreprocess(network, detector.manifest.preprocess).to(device).eval()


def attacked(model: nn.Module, crops: NDArray[np.uint8], fake: NDArray[np.int64], levels: int) -> NDArray[np.uint8]:
    """Change ``uint8 [N, H, W, 3]`` by at most ``levels`` in each channel, so that fakes score lower and reals higher.

    Args:
        model: See :func:`whole_network`.
        crops: As the network sees them.
        fake: ``[N]`` in {0, 1}.
        levels: Of 255.
    """
    import torch

    device = next(model.parameters()).device
    done = []
    for start in range(0, len(crops), _BATCH):
        clean = torch.from_numpy(crops[start : start + _BATCH]).to(device, torch.float32)
        towards = torch.from_numpy(1.0 - 2.0 * fake[start : start + _BATCH]).to(device, torch.float32)
        generator = torch.Generator().manual_seed(SEED + start)
        change = levels * (2 * torch.rand(clean.shape, generator=generator).to(device) - 1)
        for _ in range(STEPS):
            change.requires_grad_(True)
            output = model((clean + change).clamp(0, 255))
            logit = output[0] if isinstance(output, tuple) else output
            (gradient,) = torch.autograd.grad((towards * logit).sum(), change)
            change = (change.detach() + 2.5 * levels / STEPS * gradient.sign()).clamp(-levels, levels)
        done.append((clean + change.round()).clamp(0, 255).to(torch.uint8).cpu().numpy())
    return np.concatenate(done)


def shaken(crops: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """Every channel of ``uint8 [N, H, W, 3]`` up or down by ``levels``, at random."""
    signs = np.random.default_rng(SEED).choice(np.array([-levels, levels], np.int16), crops.shape)
    changed: NDArray[np.uint8] = np.clip(crops.astype(np.int16) + signs, 0, 255).astype(np.uint8)
    return changed


def rejudged(detector: LoadedDetector, shown: Sequence[Judged], crops: NDArray[np.uint8]) -> list[Judged]:
    """The samples with P(fake) of other crops of the same faces."""
    calibration = detector.manifest.calibration
    logits = detector.score(crops).logit / calibration.temperature + calibration.bias
    scores = probabilities(logits.astype(np.float32)).tolist()
    return [
        (sample, dataclasses.replace(result, p_fake=p_fake, verdict=calibration.verdict(p_fake)))
        for (sample, result), p_fake in zip(shown, scores, strict=True)
    ]
