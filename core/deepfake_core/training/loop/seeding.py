"""One seed for all random numbers."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int, *more: int) -> None:
    """Seed the random numbers of Python, NumPy and torch (all devices).

    On a CPU, the same seed and the same number of threads give the same bits. On a GPU, some kernels add in an order
    that varies, and kernels are chosen by their speed; ``torch.use_deterministic_algorithms(True)`` and
    ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` make them repeatable at some cost, with ``compile=False``.

    Args:
        seed: Seed of the recipe.
        more: Further numbers that the random numbers depend on, such as the step.
    """
    (word,) = np.random.SeedSequence([seed, *more]).generate_state(1)
    # The global generators are seeded too, because libraries that detectors use may draw from them.
    random.seed(int(word))
    np.random.seed(int(word))
    torch.manual_seed(int(word))
