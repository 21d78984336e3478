"""The checks that every export has to pass: the exported file, in its own runtime, against the torch network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepfake_core.errors import ParityError
from deepfake_core.evaluation.metrics import roc_auc
from deepfake_core.progress import track
from deepfake_core.runtimes.base import Outputs, worst_difference
from deepfake_core.runtimes.torch import as_outputs
from deepfake_registry.manifest import Calibration, ModelManifest, PreprocessSpec

BATCHES = (1, 2, 5)
"""Batch sizes in which outputs are compared."""
OTHER_TOLERANCE = 1e-3
"""Largest difference of any output but the logit."""
MAX_AUC_CHANGE = 0.005
MAX_MEAN_P_CHANGE = 0.02
LEAST_OF_EACH = 50
"""Number of images of each class from which on the limit ``|ΔAUC| ≤ 0.005`` is meaningful.

One of n images of a class that trades places with a quarter of the other class moves the AUC by 0.25 / n. From 50
images on this is within the limit, so that no single image decides.
"""
REAL_PROBES = 11
"""Largest number of calibration images among the inputs on which outputs are compared."""
TIMED = 7
"""Number of timed inferences, of which the median is taken."""

Run = Callable[[NDArray[np.uint8]], Outputs]
"""Function that runs a network on images ``uint8 [N, H, W, 3]`` RGB, or on clips ``uint8 [N, T, H, W, 3]``."""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Inputs of a network with their ground truth.

    Attributes:
        images: Images ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]``.
        fake: Labels ``int64 [N]`` in {0, 1}, where 1 is fake.
        logits: The network's logits ``float32 [N]``, where they are known already.
    """

    images: NDArray[np.uint8]
    fake: NDArray[np.int64]
    logits: NDArray[np.float32] | None = None


def torch_run(model: nn.Module, manifest: ModelManifest) -> Run:
    """Return a function that runs a torch module as a runtime would.

    Args:
        model: Module from ``uint8 [N, H, W, 3]`` to the logit, or to a tuple of the manifest's outputs.
        manifest: Manifest that names the outputs.
    """

    def run(images: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            return as_outputs(model(torch.from_numpy(images)), manifest)

    return run


def probes(spec: PreprocessSpec, images: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return inputs to compare outputs on: up to 11 of ``images``, then five edge cases, as one array uint8 [M, …].

    For a network that takes clips, an edge case is the same image in every frame but the last, which is black.

    Args:
        spec: Preprocessing of the network, which states the size of its inputs.
        images: Images ``uint8 [N, H, W, 3]``, or clips ``uint8 [N, T, H, W, 3]``; none leaves the edge cases alone.
    """
    edge = np.stack(list(_edge_images(spec.size)))
    if spec.clip is not None:
        edge = np.repeat(edge[:, None], spec.clip.length, axis=1)
        edge[:, -1] = 0
    if images is None:
        return edge
    return np.concatenate([spread(images, REAL_PROBES), edge])


def spread(items: NDArray[Any], count: int) -> NDArray[Any]:
    """Return at most ``count`` of ``items`` [N, …], evenly spaced from the first to the last."""
    picked: NDArray[Any] = items[np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)]
    return picked


def _edge_images(size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    shape = (*size, 3)
    yield np.zeros(shape, np.uint8)
    yield np.full(shape, 255, np.uint8)
    yield np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rows, columns = np.indices(size)
    yield np.repeat((255 * ((rows + columns) % 2)).astype(np.uint8)[..., None], 3, axis=2)
    ramp = 255 * columns / max(1, size[1] - 1)
    yield np.stack([ramp, 255 - ramp, 255 * rows / max(1, size[0] - 1)], axis=2).astype(np.uint8)


def gate_outputs(what: str, reference: Run, exported: Run, images: NDArray[np.uint8], tolerance: float) -> None:
    """Check that two networks have equal outputs in batches of 1, 2 and 5.

    Args:
        what: Name of the export in the message of an error.
        reference: The network.
        exported: The exported file.
        images: Images ``uint8 [M, H, W, 3]``, or clips ``uint8 [M, T, H, W, 3]``.
        tolerance: Largest difference of a logit; that of every other output is 1e-3. Both are relative where a value
            exceeds 1.

    Raises:
        ParityError: The outputs differ by more, have other shapes, or are not finite.
    """
    for size in BATCHES:
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            want, got = reference(batch).by_name(), exported(batch).by_name()
            case = f"{what}, batch of {len(batch)}"
            if want.keys() != got.keys():
                raise ParityError(f"{case}: has the outputs {', '.join(got)}, the network has {', '.join(want)}")
            for name in want:
                allowed = tolerance if name == "logit" else OTHER_TOLERANCE
                _compare(f"{case}: {name}", want[name], got[name], allowed)


def _compare(case: str, want: NDArray[np.float32], got: NDArray[np.float32], tolerance: float) -> None:
    if want.shape != got.shape:
        raise ParityError(f"{case} has shape {got.shape}, the network gives {want.shape}")
    worst = worst_difference(want, got)
    if not worst <= tolerance:  # written so that NaN fails
        raise ParityError(f"{case} differs from the network's by {worst:.3g}, allowed {tolerance:.0e}; nothing written")


@dataclass(frozen=True, slots=True)
class Change:
    """Change of the scores on a labelled set.

    Attributes:
        auc: ``|ΔAUC|``.
        p: Mean ``|Δp_fake|``.
        auc_counts: Whether the AUC is checked. That of untrained weights is not: their scores lie so close together
            that the smallest change reorders them.
    """

    auc: float
    p: float
    auc_counts: bool = True

    @property
    def share_of_limit(self) -> float:
        """The larger of both changes, each divided by its limit; the scores pass where this is at most 1."""
        used = max(self.auc / MAX_AUC_CHANGE if self.auc_counts else 0.0, self.p / MAX_MEAN_P_CHANGE)
        return used if math.isfinite(used) else math.inf

    def __str__(self) -> str:
        return f"AUC changes by {self.auc:.4f} and P(fake) by {self.p:.4f} on average"


def change_of(
    before: NDArray[np.float32], after: NDArray[np.float32], fake: NDArray[np.int64], manifest: ModelManifest
) -> Change:
    """Compute the change between two arrays of logits of the same images.

    Args:
        before: The network's logits ``float32 [N]``.
        after: The export's logits ``float32 [N]``.
        fake: Labels ``int64 [N]`` in {0, 1}, where 1 is fake.
        manifest: Manifest with the calibration and the status of the weights.
    """
    auc = abs(roc_auc(fake, after) - roc_auc(fake, before))
    return Change(auc, mean_p_change(before, after, manifest.calibration), manifest.weights != "untrained")


def gate_changes(what: str, changes: Mapping[str, Change], fake: NDArray[np.int64]) -> None:
    """Check that the scores of at least one variant are nearly unchanged.

    The limits are ``|ΔAUC| ≤ 0.005`` and mean ``|Δp_fake| ≤ 0.02``. With fewer images than :data:`LEAST_OF_EACH` they
    are the same, and callers warn (:func:`too_few`).

    Args:
        what: Name of the export in the message of an error.
        changes: Name of a variant → change of its scores.
        fake: Labels of the images, ``int64 [N]`` in {0, 1}.

    Raises:
        ParityError: All changes are larger; the message lists them.
    """
    if any(change.share_of_limit <= 1 for change in changes.values()):
        return
    few = too_few(fake) if any(change.auc_counts for change in changes.values()) else ""
    tried = "; ".join(f"{name}: {change}" if name else str(change) for name, change in changes.items())
    raise ParityError(
        f"{what}: {tried} (allowed {MAX_AUC_CHANGE} and {MAX_MEAN_P_CHANGE}, on {len(fake)} pictures"
        f"{f'; {few}' if few else ''}); nothing written"
    )


def too_few(fake: NDArray[np.int64]) -> str:
    """Return a warning where there are so few images that a single one can decide about the AUC.

    Args:
        fake: Labels of the images, ``int64 [N]`` in {0, 1}.

    Returns:
        The warning; an empty text where there are enough images of each class.
    """
    real_count, fake_count = (int((fake == label).sum()) for label in (0, 1))
    if min(real_count, fake_count) >= LEAST_OF_EACH:
        return ""
    return (
        f"on {real_count} real and {fake_count} fake pictures a single one can move the AUC by more than "
        f"{MAX_AUC_CHANGE}; take at least {LEAST_OF_EACH} of each"
    )


def gate_scores(
    what: str, before: NDArray[np.float32], exported: Run, data: LabelledImages, manifest: ModelManifest
) -> None:
    """Check that the scores on a labelled set are nearly unchanged.

    Args:
        what: Name of the export in the message of an error.
        before: The network's logits ``float32 [N]`` of the labelled images.
        exported: The exported file.
        data: The labelled images.
        manifest: Manifest with the calibration.

    Raises:
        ParityError: The change is larger than :func:`gate_changes` allows.
    """
    after = scores_of(exported, data.images)
    gate_changes(what, {"": change_of(before, after, data.fake, manifest)}, data.fake)


def gate_drift(what: str, reference: Run, exported: Run, images: NDArray[np.uint8], calibration: Calibration) -> None:
    """Check that the mean ``|Δp_fake|`` is at most 0.02, on images that need no labels.

    Args:
        what: Name of the export in the message of an error.
        reference: The network.
        exported: The exported file.
        images: Images ``uint8 [M, H, W, 3]``, or clips ``uint8 [M, T, H, W, 3]``.
        calibration: Calibration that turns logits into probabilities.

    Raises:
        ParityError: The change is larger, or a logit is not finite.
    """
    change = mean_p_change(scores_of(reference, images), scores_of(exported, images), calibration)
    if not change <= MAX_MEAN_P_CHANGE:
        raise ParityError(
            f"{what}: P(fake) changes by {change:.4f} on average, allowed {MAX_MEAN_P_CHANGE}; nothing written"
        )


def mean_p_change(before: NDArray[np.float32], after: NDArray[np.float32], calibration: Calibration) -> float:
    """Compute the mean absolute change of the calibrated probability between two arrays of logits ``float32 [N]``."""
    changes = [
        abs(calibration.p_fake(float(b)) - calibration.p_fake(float(a))) for b, a in zip(before, after, strict=True)
    ]
    return float(np.mean(changes))


def known_scores(reference: Run, data: LabelledImages) -> NDArray[np.float32]:
    """Return the network's logits ``float32 [N]`` of labelled images; the network runs where they are not known."""
    if data.logits is not None:
        return data.logits
    return scores_of(reference, data.images, progress="scoring by the network")


def scores_of(run: Run, images: NDArray[np.uint8], batch: int = 16, *, progress: str = "") -> NDArray[np.float32]:
    """Compute the logits ``float32 [N]`` of many inputs.

    Args:
        run: The network.
        images: Images ``uint8 [N, H, W, 3]``, or clips ``uint8 [N, T, H, W, 3]``.
        batch: Largest number of images, or of frames, that run at a time; a clip always runs as a whole.
        progress: Label of a progress bar; by default none is shown.
    """
    step = max(1, batch // images.shape[1]) if images.ndim == 5 else batch
    starts = range(0, len(images), step)
    return np.concatenate([run(images[i : i + step]).logit for i in (track(starts, progress) if progress else starts)])
