"""One seed for everything that is drawn at random."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int, *more: int) -> None:
    """Seed Python, NumPy and torch (all devices) from a seed and any further numbers, such as a step.

    On a CPU the same seed and the same number of threads give the same bits. On a GPU, some kernels add in an order
    that varies; ``torch.use_deterministic_algorithms(True)`` and ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` make them
    repeatable at some cost.
    """
    (word,) = np.random.SeedSequence([seed, *more]).generate_state(1)
    # The global states, too: libraries that detectors use may draw from them.
    random.seed(int(word))
    np.random.seed(int(word))
    torch.manual_seed(int(word))
