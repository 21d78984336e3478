"""The validation set, which selects the best weights of a run, and the metrics that are measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.calibration import sigmoid
from deepfake_core.evaluation.grouping import places_by_source
from deepfake_core.runtimes.torch import autocast, to_device

BATCH = 64
"""Images of a forward pass on a CPU, whose caches hold no larger ones."""
BATCH_ON_GPU = 256
"""Images of a forward pass on a GPU."""


class Images(Protocol):
    """Images that can be sliced into batches: an array, a memory map, or a store that reads on demand."""

    def __len__(self) -> int:
        """Return the number of images or clips."""

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]:
        """Return images ``uint8 [n, H, W, 3]`` RGB, or clips ``uint8 [n, T, H, W, 3]`` RGB."""


@dataclass(frozen=True)
class ValidationSet:
    """Held-out images as the detector sees them, with their labels.

    Attributes:
        images: ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]`` RGB.
        fake: Labels ``float32 [N]`` in {0, 1}; 1 is fake.
        family: Kind of pseudo-fake, or source, of each sample: ``str [N]``.
        names: Name of what each sample was made from, for overlays and messages.
        beside: Families whose real samples stand beside the fakes of a family that has none.
        groups: Group of each sample, such as a video, whose samples are not independent: ``str [N]``; ``None`` where
            each sample is a group.
    """

    images: Images
    fake: NDArray[np.float32]
    family: NDArray[np.str_]
    names: Sequence[str]
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: NDArray[np.str_] | None = None

    def check(self) -> None:
        """Refuse a validation set without samples of both classes, on which nothing can be measured.

        Raises:
            TrainingDataError: The set is empty or has only one class.
        """
        classes = np.unique(self.fake)
        if len(classes) < 2:
            found = "is empty" if len(self.fake) == 0 else f"has {'fakes' if classes[0] else 'real faces'} only"
            raise TrainingDataError(
                f"the validation split {found}; raise validation_share, give --valid, or add pictures of both classes "
                "from more than one group"
            )


def validation_logits(
    model: nn.Module,
    images: Images,
    batch_size: int | None = None,
    *,
    precision: str = "fp32",
    rank: int = 0,
    processes: int = 1,
) -> NDArray[np.float64]:
    """Compute the logits ``float64 [N]`` of N images; the arguments are those of :func:`validation_outputs`."""
    found = validation_outputs(model, images, batch_size, precision=precision, rank=rank, processes=processes)
    logit: NDArray[np.float64] = found[0]
    return logit


@torch.inference_mode()
def validation_outputs(
    model: nn.Module,
    images: Images,
    batch_size: int | None = None,
    *,
    precision: str = "fp32",
    evidence: bool = False,
    rank: int = 0,
    processes: int = 1,
) -> NDArray[np.float64]:
    """Compute the logits of N images and, where they are wanted, the highest evidence logits: ``float64 [1 or 2, N]``.

    A GPU works on a batch while the host reads the next one, and gives its results once, at the end.

    Args:
        model: A :class:`~deepfake_core.contract.detector.WithPreprocess`; it runs in evaluation mode, and is in its
            former mode afterwards.
        images: Images ``uint8 [N, H, W, 3]`` RGB or clips ``uint8 [N, T, H, W, 3]`` RGB as the detector sees them.
        batch_size: Number of images per forward pass; by default :data:`BATCH` or, on a GPU, :data:`BATCH_ON_GPU`.
        precision: Precision of the forward pass on a GPU: ``"fp32"``, ``"bf16"`` or ``"fp16"``. A CPU computes in fp32,
            as the packaged model does.
        evidence: Whether the second output of the model is an evidence map, of whose cells the highest is wanted.
        rank: Number of this process.
        processes: Number of processes. Each computes its share of the batches, and all return everything.
    """
    device = next(model.parameters()).device
    size = batch_size or (BATCH_ON_GPU if device.type == "cuda" else BATCH)
    training = model.training
    model.eval()
    batches = {
        start: _outputs(model, to_device(images[start : start + size], device), precision, evidence=evidence)
        for start in range(rank * size, len(images), processes * size)
    }
    model.train(training)
    ends = np.cumsum([outputs.shape[1] for outputs in batches.values()])
    copied = torch.cat(list(batches.values()), 1).cpu().numpy() if batches else np.empty((1 + evidence, 0), np.float32)
    parts = list(zip(batches, np.split(copied, ends[:-1], axis=1), strict=bool(batches)))
    if processes > 1:
        parts = sorted(gather_object(parts), key=lambda part: part[0])
    return np.concatenate([part for _, part in parts], axis=1).astype(np.float64)


def _outputs(model: nn.Module, images: Tensor, precision: str, *, evidence: bool) -> Tensor:
    """Return the logits and, where they are wanted, the highest evidence logits, ``float32 [1 or 2, n]``."""
    with autocast(images.device, precision if images.is_cuda else "fp32"):
        output = model(images)
    outputs = output if isinstance(output, tuple) else (output,)
    rows = [outputs[0].float()]
    if evidence:
        rows.append(outputs[1].float().flatten(1).amax(dim=1))
    return torch.stack(rows)


def validation_metrics(logit: NDArray[np.float64], validation: ValidationSet) -> dict[str, float]:
    """Compute the validation loss and the metrics of a validation set.

    Args:
        logit: ``float64 [N]``.
        validation: The set that the logits belong to.

    Returns:
        ``val_loss``, the binary cross-entropy of the logit; ``auc`` and ``pr_auc`` over all samples; ``acc``,
        ``precision``, ``recall`` and ``f1`` at P(fake) = 0.5; ``auc_<family>`` of each family that has both classes,
        or beside whose fakes the real samples of others stand
        (:func:`~deepfake_core.evaluation.grouping.places_by_source`); and ``auc_mean``, their mean, in which each
        family counts once, or ``auc`` where no family has both.
    """
    fake = validation.fake
    p_fake = sigmoid(logit)
    precision, recall, f1 = metrics.precision_recall_f1(fake, p_fake)
    by_family = {}
    for name, here in places_by_source(validation.family, fake, validation.beside).items():
        if len(np.unique(fake[here])) == 2:
            by_family[f"auc_{name}"] = metrics.roc_auc(fake[here], logit[here])
    auc = metrics.roc_auc(fake, logit)
    return {
        "val_loss": float(np.mean(np.logaddexp(0.0, logit) - fake * logit)),
        "auc": auc,
        "acc": metrics.accuracy(fake, p_fake),
        "pr_auc": metrics.average_precision(fake, logit),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auc_mean": float(np.mean(list(by_family.values()))) if by_family else auc,
        **by_family,
    }
