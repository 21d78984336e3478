"""What selects a model: held-out pictures as the detector sees them, and what is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn

from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics


class Images(Protocol):
    """Pictures that can be cut into batches: an array, a memory map, or a store that reads as it is asked."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]:
        """``uint8 [n, H, W, 3]`` RGB; clips: ``[n, T, H, W, 3]``."""


@dataclass(frozen=True)
class ValidationSet:
    """Pictures as the detector sees them, with their labels.

    Attributes:
        images: ``uint8 [N, H, W, 3]`` RGB.
        fake: ``float32 [N]`` in {0, 1}.
        family: ``[N]``: the kind of fake, or the source, that the sample stands for.
        names: What each was made from, for overlays and messages.
    """

    images: Images
    fake: NDArray[np.float32]
    family: NDArray[np.str_]
    names: Sequence[str]

    def check(self) -> None:
        """Make sure that both classes are there, without which nothing can be measured.

        Raises:
            TrainingDataError: Validation is empty or has one class.
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
    """Logits ``[N]`` of a :class:`~deepfake_core.contract.detector.WithPreprocess` for ``uint8 [N, H, W, 3]``.

    Of several processes each judges its share of the batches; all get all scores.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    starts = range(rank * batch_size, len(images), processes * batch_size)
    logits: list[tuple[int, NDArray[np.float32]]] = []
    for start in starts:
        output = model(torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])).to(device))
        logits.append((start, (output[0] if isinstance(output, tuple) else output).float().cpu().numpy()))
    model.train(training)
    if processes > 1:
        logits = sorted(gather_object(logits), key=lambda part: part[0])
    return np.concatenate([part for _, part in logits]).astype(np.float64)


def validation_metrics(logit: NDArray[np.float64], validation: ValidationSet) -> dict[str, float]:
    """Loss and metrics over all samples at P(fake) = 0.5, AUC of each family with both classes, and their mean.

    ``val_loss`` is the binary cross-entropy of the logit; ``auc`` is over all samples, ``auc_mean`` the mean over
    the families (003-9).
    """
    fake = validation.fake
    p_fake = 0.5 * (1.0 + np.tanh(0.5 * logit))
    precision, recall, f1 = metrics.precision_recall_f1(fake, p_fake)
    by_family = {}
    for name in np.unique(validation.family).tolist():
        here = validation.family == name
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
