"""The forward pass of a run: through ``torch.compile`` where the recipe asks for it, or where it turns out faster."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.progress import duration
from deepfake_core.training.recipes.stages import Stage

log = logging.getLogger("deepfake.training")

WARM_UP = 5
"""Steps that are not timed, of either kind: kernels are chosen and compiled in them."""
TIMED = 20
"""Steps that are timed, of either kind."""
WORTH_S = 900
"""Seconds that a phase has to take at least for a trial: compiling itself takes one to four minutes."""
GAIN = 0.97
"""Ratio of the times of a step below which the compiled network is kept."""


@dataclass
class _Trial:
    """Steps with inputs of one shape, first plain ones and then compiled ones."""

    steps: int = 0
    times: list[tuple[Any, Any]] = field(default_factory=list)
    plain_s: float = 0.0
    compiled: bool = False
    over: bool = False


class Forward(nn.Module):
    """Forward pass of a model, whose parameters and names stay what they are.

    With ``compile=True`` it is compiled from the first step on. With ``compile="auto"`` and on a GPU, the first steps
    are timed, then as many compiled ones, and the faster way is kept; this is decided once for each shape of the
    inputs, and in phases of at least :data:`WORTH_S` seconds. All of them are ordinary steps of the training. Where
    the network cannot be compiled, a warning says why, and it runs as it is.

    Each shape is compiled for itself. The samples of a run have one shape, or two if it begins with small inputs.

    Args:
        model: Model on the device of the accelerator.
        recipe: Recipe of the run.
        stage: Phase of the run.
        accelerator: Accelerator of the run.

    Attributes:
        failed: Reason why the network could not be compiled; empty where it could, or was not to be.
    """

    def __init__(self, model: nn.Module, recipe: TrainRecipe, stage: Stage, accelerator: Accelerator) -> None:
        super().__init__()
        self.model, self.stage, self.accelerator = model, stage, accelerator
        self.always = recipe.compile is True
        self.undecided = recipe.compile == "auto" and accelerator.device.type == "cuda"
        self._trials: dict[torch.Size, _Trial] = {}
        self._backend = recipe.compile_backend
        self._compiled: Callable[[Tensor], Any] | None = None
        self._works: set[torch.Size] = set()
        self.failed = ""
        if self.always or self.undecided:
            torch.compiler.reset()  # what was compiled in an earlier phase or run is not needed any more

    def forward(self, images: Tensor) -> Any:
        """Return the outputs of the model for images ``uint8 [N, H, W, 3]`` RGB, or clips."""
        trial = self._trials.get(images.shape)
        if self.failed or not (self.always or (trial is not None and trial.compiled)):
            return self.model(images)
        if self._compiled is not None and images.shape in self._works:
            return self._compiled(images)
        try:
            self._compiled = self._compiled or torch.compile(self.model.forward, backend=self._backend, dynamic=False)
            output = self._compiled(images)
        except Exception as error:  # noqa: BLE001 - compilers raise anything; an error of the model itself comes again
            self._give_up(error)
            return self.model(images)
        self._works.add(images.shape)
        return output

    @contextmanager
    def step(self, shape: torch.Size) -> Iterator[None]:
        """Within the block, an optimiser step is taken on images of a shape; its time may count."""
        trial = self._trials.setdefault(shape, _Trial()) if self.undecided else None
        if trial is None or trial.over:
            yield
            return
        begun = self._mark()
        yield
        trial.steps += 1
        if trial.steps <= WARM_UP:
            return
        trial.times.append((begun, self._mark()))
        if len(trial.times) < TIMED:
            return
        took = self._median(trial.times)
        trial.times.clear()
        trial.steps = 0
        if trial.compiled:
            self._decide(trial, took)
            return
        trial.plain_s = took
        rest = self.stage.seconds if self.stage.seconds is not None else (self.stage.steps or 0) * took
        trial.compiled = rest >= WORTH_S
        trial.over = not trial.compiled
        if trial.compiled:
            log.info("compiling the network; a step takes %.1f ms without", 1000 * took)
        else:
            log.info("the network is not compiled: the phase takes about %s", duration(rest))

    def _decide(self, trial: _Trial, took: float) -> None:
        trial.over = True
        trial.compiled = took < GAIN * trial.plain_s
        if self.failed:
            return
        log.info(
            "%s: a step takes %.1f ms compiled and %.1f ms without",
            "going on with the compiled network" if trial.compiled else "going on without compilation",
            1000 * took,
            1000 * trial.plain_s,
        )

    def _give_up(self, error: Exception) -> None:
        """Run the model as it is from now on; a trial goes on, because all processes have to end it together."""
        self.failed = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
        log.warning("the network cannot be compiled and runs as it is (%s)", self.failed)

    def _mark(self) -> Any:
        if self.accelerator.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _median(self, times: list[tuple[Any, Any]]) -> float:
        """Return the median time of steps in s, as a mean over all processes, so that they decide alike."""
        if self.accelerator.device.type == "cuda":
            times[-1][1].synchronize()
            seconds = [begun.elapsed_time(ended) / 1000 for begun, ended in times]
        else:
            seconds = [ended - begun for begun, ended in times]
        median = torch.tensor(statistics.median(seconds), device=self.accelerator.device)
        return float(self.accelerator.reduce(median, "mean"))
