"""The gate that every export passes: the exported file against the torch network, in the file's own runtime."""

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
from deepfake_core.runtimes.base import Outputs, worst_difference
from deepfake_core.runtimes.torch import as_outputs
from deepfake_registry.manifest import Calibration, ModelManifest, PreprocessSpec

BATCHES = (1, 2, 5)
OTHER_TOLERANCE = 1e-3
MAX_AUC_CHANGE = 0.005
MAX_MEAN_P_CHANGE = 0.02
LEAST_OF_EACH = 50
"""Pictures of each class from which on ``|ΔAUC| ≤ 0.005`` means something.

Of n in its class, a picture that trades places with a quarter of the other class moves the AUC by 0.25 / n. From 50 on
that is within what is allowed, so that no single picture decides.
"""
REAL_PROBES = 11
TIMED = 7
"""Timed inferences, of which the median counts."""

Run = Callable[[NDArray[np.uint8]], Outputs]


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Network inputs with known answers: ``images`` uint8 [N, H, W, 3] RGB, ``fake`` int64 [N] in {0, 1}.

    ``logits`` are the network's, float32 [N], where they are known already.
    """

    images: NDArray[np.uint8]
    fake: NDArray[np.int64]
    logits: NDArray[np.float32] | None = None


def torch_run(model: nn.Module, manifest: ModelManifest) -> Run:
    """Make ``model`` (uint8 [N, H, W, 3] → logit, or a tuple of the manifest's outputs) answer like a runtime."""

    def run(images: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            return as_outputs(model(torch.from_numpy(images)), manifest)

    return run


def probes(spec: PreprocessSpec, images: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Inputs that an export is tried on: five edge cases and up to 11 of ``images``, as one uint8 array [M, …].

    For a network that takes clips, an edge case is the same picture in every frame but the last, which is black.
    """
    edge = np.stack(list(_edge_images(spec.size)))
    if spec.clip is not None:
        edge = np.repeat(edge[:, None], spec.clip.length, axis=1)
        edge[:, -1] = 0
    if images is None:
        return edge
    return np.concatenate([spread(images, REAL_PROBES), edge])


def spread(items: NDArray[Any], count: int) -> NDArray[Any]:
    """At most ``count`` of ``items`` [N, …], evenly from first to last."""
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
    """Demand equal outputs on ``images`` uint8 [M, H, W, 3] (or clips) in batches of 1, 2 and 5.

    ``tolerance`` is for logits, 1e-3 for every other output, relative where a value exceeds 1.

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
    """How judgement on a labelled set changed.

    Attributes:
        auc: ``|ΔAUC|``.
        p: Mean ``|Δp_fake|``.
        ranks: Whether AUC counts. That of untrained weights is chance: their scores lie so close together that the
            smallest change puts them into another order.
    """

    auc: float
    p: float
    ranks: bool = True

    @property
    def share(self) -> float:
        """Of what is allowed, the larger part used up; 1 or less holds."""
        used = max(self.auc / MAX_AUC_CHANGE if self.ranks else 0.0, self.p / MAX_MEAN_P_CHANGE)
        return used if math.isfinite(used) else math.inf

    def __str__(self) -> str:
        return f"AUC changes by {self.auc:.4f} and P(fake) by {self.p:.4f} on average"


def change_of(
    before: NDArray[np.float32], after: NDArray[np.float32], fake: NDArray[np.int64], manifest: ModelManifest
) -> Change:
    """Between two arrays of logits float32 [N] of pictures labelled int64 [N]."""
    auc = abs(roc_auc(fake, after) - roc_auc(fake, before))
    return Change(auc, mean_p_change(before, after, manifest.calibration), manifest.weights != "untrained")


def gate_changes(what: str, changes: Mapping[str, Change], fake: NDArray[np.int64]) -> None:
    """Demand that one variant's judgement is nearly unchanged: ``|ΔAUC| ≤ 0.005`` and mean ``|Δp_fake| ≤ 0.02``.

    On fewer pictures than :data:`LEAST_OF_EACH` the verdict is the same: whoever brings them warns (:func:`too_few`).

    Args:
        what: Names the export in the message.
        changes: What was tried → how the judgement changed.
        fake: Labels of the pictures, int64 [N] in {0, 1}.

    Raises:
        ParityError: All changes are larger; it lists them.
    """
    if any(change.share <= 1 for change in changes.values()):
        return
    few = too_few(fake) if any(change.ranks for change in changes.values()) else ""
    tried = "; ".join(f"{name}: {change}" if name else str(change) for name, change in changes.items())
    raise ParityError(
        f"{what}: {tried} (allowed {MAX_AUC_CHANGE} and {MAX_MEAN_P_CHANGE}, on {len(fake)} pictures"
        f"{f'; {few}' if few else ''}); nothing written"
    )


def too_few(fake: NDArray[np.int64]) -> str:
    """What to say of labels, int64 [N] in {0, 1}, on which one picture can decide about the AUC; empty otherwise."""
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
    """Demand nearly unchanged judgement on a labelled set.

    Args:
        what: Names the export in the message.
        before: The network's logits of the labelled pictures, float32 [N].
        exported: The exported file.
        data: The labelled pictures.
        manifest: Has the calibration.

    Raises:
        ParityError: The change is larger than :func:`gate_changes` allows.
    """
    after = scores_of(exported, data.images)
    gate_changes(what, {"": change_of(before, after, data.fake, manifest)}, data.fake)


def gate_drift(what: str, reference: Run, exported: Run, images: NDArray[np.uint8], calibration: Calibration) -> None:
    """Demand a mean ``|Δp_fake| ≤ 0.02`` on ``images`` uint8 [M, H, W, 3], which need no labels.

    Raises:
        ParityError: The change is larger, or a logit is not finite.
    """
    change = mean_p_change(scores_of(reference, images), scores_of(exported, images), calibration)
    if not change <= MAX_MEAN_P_CHANGE:
        raise ParityError(
            f"{what}: P(fake) changes by {change:.4f} on average, allowed {MAX_MEAN_P_CHANGE}; nothing written"
        )


def mean_p_change(before: NDArray[np.float32], after: NDArray[np.float32], calibration: Calibration) -> float:
    """Mean absolute change of the calibrated probability between two float32 [N] arrays of logits."""
    changes = [
        abs(calibration.p_fake(float(b)) - calibration.p_fake(float(a))) for b, a in zip(before, after, strict=True)
    ]
    return float(np.mean(changes))


def known_scores(reference: Run, data: LabelledImages) -> NDArray[np.float32]:
    """The network's logits of labelled images, float32 [N]; it runs where they are not known."""
    return scores_of(reference, data.images) if data.logits is None else data.logits


def scores_of(run: Run, images: NDArray[np.uint8], batch: int = 16) -> NDArray[np.float32]:
    """Logits float32 [N] of ``images`` uint8 [N, H, W, 3], or of clips [N, T, H, W, 3], ``batch`` frames at a time."""
    step = max(1, batch // images.shape[1]) if images.ndim == 5 else batch
    return np.concatenate([run(images[i : i + step]).logit for i in range(0, len(images), step)])
