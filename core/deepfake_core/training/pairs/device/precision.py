"""The precision of pictures on a device: float32, also where the training beside it works in another format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within the block, compute in float32: without autocast, without TF32 in products of matrices, without gradients.

    TF32 keeps 11 bits of a number, so that coefficients of JPEG would fall into other steps of their quantisation.
    Convolutions, which only blur, are not tuned for each size (``cudnn.benchmark``): the sizes of pictures vary.

    Args:
        device: Device on which the block computes.
    """
    precision, tuned = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    known = torch.amp.is_autocast_available(device.type)
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False) if known else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = tuned
        torch.set_float32_matmul_precision(precision)
