"""Devices and processes, through Accelerate."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from deepfake_core.runtimes.torch import torch_device

PATIENCE = timedelta(hours=12)
"""How long processes wait for each other: the first one finds faces while the others do nothing."""


def engine(device: str) -> Accelerator:
    """An accelerator for one run, alone or as one of the processes that ``accelerate launch`` started.

    Args:
        device: ``"auto"`` takes a GPU where there is one; ``"cpu"``, ``"cuda"``, ``"cuda:N"``. Processes of a launcher
            take the devices that it gives them.

    Raises:
        DeepfakeError: The device is not there.
    """
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True), InitProcessGroupKwargs(timeout=PATIENCE)]
    if "LOCAL_RANK" in os.environ:
        return Accelerator(cpu=device == "cpu", kwargs_handlers=handlers)
    # Accelerate keeps the first device that it was asked for until the process ends; each run chooses anew.
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
