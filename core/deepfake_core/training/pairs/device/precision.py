"""The precision of pictures on a device: float32, also where the training beside it works in another format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within the block, compute in float32: without autocast, without TF32 and without gradients.

    TF32 keeps 11 bits of a number, so that coefficients of JPEG would fall into other steps of their quantisation. The
    convolutions are not tuned for each size (``cudnn.benchmark``) either, because the sizes of pictures vary.

    Args:
        device: Device on which the block computes.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.no_grad(),
            torch.autocast(device.type, enabled=False)
            if torch.amp.is_autocast_available(device.type)
            else nullcontext(),
            torch.backends.cudnn.flags(
                enabled=True,
                benchmark=False,
                deterministic=torch.backends.cudnn.deterministic,
                allow_tf32=False,
            ),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
