"""The accelerator of a run: its device and its processes, through Hugging Face Accelerate; and its random numbers."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from deepfake_core.runtimes.torch import torch_device

PROCESS_TIMEOUT = timedelta(hours=12)
"""How long processes wait for each other. The first process finds the faces of the dataset while the others wait."""


def make_accelerator(device: str) -> Accelerator:
    """Make the accelerator of one run, for a single process or for one of those that ``accelerate launch`` started.

    Args:
        device: ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``. The processes of a
            launcher use the devices that the launcher assigns to them.

    Raises:
        DeepfakeError: The device does not exist on this machine.
    """
    handlers = [
        DistributedDataParallelKwargs(find_unused_parameters=True),
        InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT),
    ]
    if "LOCAL_RANK" in os.environ:
        return Accelerator(cpu=device == "cpu", kwargs_handlers=handlers)
    # Accelerate keeps the first device of a process for its lifetime; the reset lets each run choose its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    chosen = torch_device(device)
    if chosen.startswith("cuda"):
        torch.cuda.set_device(chosen if ":" in chosen else 0)
        before = os.environ.get("ACCELERATE_TORCH_DEVICE")
        os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{torch.cuda.current_device()}"
        try:
            return Accelerator(kwargs_handlers=handlers)
        finally:
            os.environ.pop("ACCELERATE_TORCH_DEVICE")
            if before is not None:
                os.environ["ACCELERATE_TORCH_DEVICE"] = before
    return Accelerator(cpu=True, kwargs_handlers=handlers)


@contextmanager
def fastest_convolutions(device: torch.device) -> Iterator[None]:
    """Within the block, cuDNN tries its algorithms once for each shape of the inputs, and keeps the fastest.

    The choice, and with it the last bits of a result, may differ from run to run; it is not made where
    ``torch.use_deterministic_algorithms(True)`` was called.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda" and not torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


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
