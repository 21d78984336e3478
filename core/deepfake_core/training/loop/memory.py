"""Memory of a training step: recomputed activations, and advice where the memory does not suffice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from deepfake_core.contract.detector import Detector
from deepfake_core.errors import DeepfakeError


@contextlib.contextmanager
def recompute_activations(detector: Detector, network: nn.Module, wanted: bool) -> Iterator[None]:
    """Within the block, recompute activations in the backward pass instead of storing them, where ``wanted``.

    Args:
        detector: Detector that names the blocks (``checkpoint_modules``).
        network: Network of the detector.
        wanted: Whether to recompute them.

    Raises:
        DeepfakeError: Activations are to be recomputed, but the detector names no blocks.
    """
    blocks = detector.checkpoint_modules(network) if wanted else ()
    if wanted and not blocks:
        raise DeepfakeError(f"{type(detector).__name__} names no blocks to recompute; set checkpointing=false")
    for block in blocks:
        block.forward = _recomputed(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any, **named: Any) -> Any:
        return checkpoint(forward, *inputs, use_reentrant=False, **named)

    return run


@contextlib.contextmanager
def memory_advice() -> Iterator[None]:
    """Within the block, replace an out-of-memory error by one that names the remedies.

    Raises:
        DeepfakeError: The memory of the device or of the host was exhausted.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        plain = not isinstance(error, torch.OutOfMemoryError | MemoryError)
        if plain and "not enough memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise DeepfakeError(
            "out of memory. Three remedies: a smaller batch with accumulation (--set batch_size=8 --set accumulate=4), "
            "mixed precision (--set precision=auto), recomputed activations (--set checkpointing=true)"
        ) from error
