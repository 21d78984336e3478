"""The validation set, which selects the best weights of a run, and the metrics that are measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    images: Images
    fake: NDArray[np.float32]
    family: NDArray[np.str_]
    names: Sequence[str]

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


@torch.inference_mode()
def validation_logits(
    model: nn.Module, images: Images, batch_size: int = 64, *, rank: int = 0, processes: int = 1
) -> NDArray[np.float64]:
    """Compute logits ``float64 [N]`` for images ``uint8 [N, H, W, 3]`` RGB or clips ``uint8 [N, T, H, W, 3]`` RGB.

    Args:
        model: A :class:`~deepfake_core.contract.detector.WithPreprocess`; it runs in evaluation mode, and is in its
            former mode afterwards.
        images: Images or clips as the detector sees them.
        batch_size: Number of images per forward pass.
        rank: Number of this process.
        processes: Number of processes. Each computes its share of the batches, and all return all logits.
    """
    training = model.training
    model.eval()
    starts = range(rank * batch_size, len(images), processes * batch_size)
    logits = [(start, _outputs(model, images[start : start + batch_size])[0].float().cpu().numpy()) for start in starts]
    model.train(training)
    if processes > 1:
        logits = sorted(gather_object(logits), key=lambda part: part[0])
    return np.concatenate([part for _, part in logits]).astype(np.float64)


@torch.inference_mode()
def strongest_evidence(
    model: nn.Module, images: Images, chosen: NDArray[np.bool_], batch_size: int = 64
) -> NDArray[np.float64]:
    """Compute the highest evidence logit of each of n chosen images, float64 ``[n]``.

    Args:
        model: A :class:`~deepfake_core.contract.detector.WithPreprocess` in evaluation mode, whose second output is an
            evidence map.
        images: Images as the detector sees them.
        chosen: Which of the images to take, ``bool [N]``.
        batch_size: Number of images that are read at once.
    """
    highest: list[NDArray[np.float32]] = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        if chosen[part].any():
            cells = _outputs(model, images[part][chosen[part]])[1].float().flatten(1)
            highest.append(cells.amax(dim=1).cpu().numpy())
    return np.concatenate(highest).astype(np.float64)


def _outputs(model: nn.Module, images: NDArray[np.uint8]) -> tuple[Tensor, ...]:
    device = next(model.parameters()).device
    output = model(torch.from_numpy(np.ascontiguousarray(images)).to(device))
    return output if isinstance(output, tuple) else (output,)


def validation_metrics(logit: NDArray[np.float64], validation: ValidationSet) -> dict[str, float]:
    """Compute the validation loss and the metrics of a validation set.

    Args:
        logit: ``float64 [N]``.
        validation: The set that the logits belong to.

    Returns:
        ``val_loss``, the binary cross-entropy of the logit; ``auc`` and ``pr_auc`` over all samples; ``acc``,
        ``precision``, ``recall`` and ``f1`` at P(fake) = 0.5; ``auc_<family>`` of each family that has both classes,
        or shares the real samples of its collection
        (:func:`~deepfake_core.evaluation.grouping.places_by_source`); and ``auc_mean``, their mean, or ``auc`` where
        no family has both.
    """
    fake = validation.fake
    p_fake = sigmoid(logit)
    precision, recall, f1 = metrics.precision_recall_f1(fake, p_fake)
    by_family = {}
    for name, here in places_by_source(validation.family, fake).items():
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
