"""The training loop, visible from top to bottom."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors.torch import save_file
from torch import nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.errors import DeepfakeError
from deepfake_core.progress import track
from deepfake_core.training.data.batches import Batches
from deepfake_core.training.loop import checkpoint
from deepfake_core.training.loop.checkpoint import Progress
from deepfake_core.training.loop.optim import MovingAverage, Stage, plan, set_rates, train_mode
from deepfake_core.training.loop.seeding import seed_everything
from deepfake_core.training.loop.step import Augment, Stepper, memory_advice, recomputing, working_precision
from deepfake_registry.files import atomic_path

log = logging.getLogger("deepfake.training")

SHOWN = 10
"""Times that trackers see the loss between two validations."""


class Stopped(Exception):
    """Raised by ``on_validation`` to end a run early; what was reached so far is kept."""


class Files(Protocol):
    """Where the loop writes; :class:`~deepfake_core.training.runs.rundir.RunDir` is one."""

    @property
    def last(self) -> Path:
        """Resume state."""

    @property
    def best(self) -> Path:
        """Weights of the best validation."""

    def metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write one row per validation."""

    def images(self, first: Sequence[str], missing: Sequence[str]) -> None:
        """Note files that could not be read."""


@dataclass(frozen=True)
class Hooks:
    """What a run is watched and changed by.

    Attributes:
        on_validation: Called with the step and the metrics of each validation; may raise :class:`Stopped`.
        log: Called with the step and named values, for trackers.
        flush: Called before each checkpoint, so that what was logged is not lost with the process.
        augment: Changes images on the device.
    """

    on_validation: Callable[[int, dict[str, float]], None] = lambda _step, _metrics: None
    log: Callable[[int, Mapping[str, float]], None] = lambda _step, _values: None
    flush: Callable[[], None] = lambda: None
    augment: Augment | None = None


def fit(
    detector: Detector,
    network: nn.Module,
    data: TrainingSet,
    validate: Callable[[nn.Module], dict[str, float]],
    recipe: TrainRecipe,
    files: Files,
    accelerator: Accelerator,
    hooks: Hooks | None = None,
) -> Progress:
    """Train ``network`` in place, keep the weights of the best validation, and say what was reached.

    A run that was cut off, however, goes on from its last checkpoint when it is started again with the same files;
    on a CPU it ends with the same bits as one that was not.

    Args:
        detector: Its loss, groups of parameters and preprocessing.
        network: What it built; changed in place.
        data: The training set.
        validate: Metrics of a :class:`~deepfake_core.contract.detector.WithPreprocess`; every process calls it.
        recipe: How to train.
        files: Where checkpoints and metrics go.
        accelerator: Devices and processes.
        hooks: Trackers, pruners, augmentation on the device.

    Raises:
        TrainingDataError: Too many samples cannot be read.
        DeepfakeError: Memory ran out, or the loss is no number any more; the message says what helps.
        KeyboardInterrupt: The process was asked to stop; its state was saved first.
    """
    hooks = hooks or Hooks()
    device = accelerator.device
    batches = Batches(data, recipe, accelerator)
    stages = plan(recipe, batches.steps_per_epoch)
    total = stages[-1].last
    eval_every = recipe.eval_every or batches.steps_per_epoch

    model = WithPreprocess(network, detector.preprocess).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = MovingAverage(model, recipe.ema) if recipe.ema else None
    scaler = torch.amp.GradScaler(device.type, enabled=working_precision(recipe.precision, device) == "fp16")
    state = checkpoint.read(files.last) if files.last.exists() else None
    progress = checkpoint.restore(state, model, average) if state else Progress()
    if state:
        log.info("going on after step %d of %d", progress.step, total)
        files.metrics(progress.history)
        if _patience_ended(progress, recipe):
            return progress

    sums = torch.tensor([progress.loss_sum, progress.norm_sum], device=device)
    feed = track(batches.from_step(progress.step, total), "training", total=total - progress.step)
    speed = _Speed(recipe, progress.step)
    with memory_advice(), recomputing(detector, network, recipe.checkpointing), _asked_to_stop(accelerator) as asked:
        for stage in (stage for stage in stages if stage.last > progress.step):
            take_step = Stepper(
                detector, model, detector.param_groups(network), stage, recipe, scaler, accelerator, hooks.augment
            )
            optimizer = take_step.optimizer
            if state and progress.step > stage.first:
                checkpoint.restore_optimizer(state, optimizer, scaler)
            else:
                progress.reduction, progress.waited = 1.0, 0
            log.info("phase %s: steps %d to %d", stage.phase.name, progress.step, stage.last)

            while progress.step < stage.last:
                parts = next(feed)
                seed_everything(recipe.seed, progress.step, accelerator.process_index)
                set_rates(optimizer, stage, progress.step, progress.reduction)
                loss, norm = take_step(parts, progress.step)
                if average:
                    average.update(model, progress.step)
                for part in parts:
                    batches.note(part, progress.unreadable)
                sums += torch.stack([loss, norm])
                progress.summed += 1
                progress.step += 1

                step, validated = progress.step, False
                if step % max(1, eval_every // SHOWN) == 0:
                    rates = {f"lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
                    hooks.log(step, {"train/loss": _finite(loss, step), "train/grad_norm": float(norm), **rates})
                if step % batches.steps_per_epoch == 0 and (names := batches.close_epoch(progress.unreadable)):
                    files.images((), names)
                if step % eval_every == 0 or step == total:
                    validated = True
                    mean = accelerator.reduce(sums, "mean") / progress.summed
                    sums.zero_()
                    progress.summed = 0
                    row = {
                        "step": step,
                        "epoch": step / batches.steps_per_epoch,
                        "lr": max(group["lr"] for group in optimizer.param_groups),
                        "loss": _finite(mean[0], step),
                        "grad_norm": float(mean[1]),
                        **validate(_judged(model, average, accelerator)),
                    }
                    train_mode(model)
                    if _take(row, progress, stage, recipe) and accelerator.is_main_process:
                        with atomic_path(files.best) as path:
                            save_file(_weights(average.module if average else model), path)
                    log.info("%s images_per_s=%.4g", _line(row), speed.until(step))
                    hooks.log(step, {f"validation/{name}": value for name, value in row.items()})
                    if accelerator.is_main_process:
                        files.metrics(progress.history)
                if validated or asked() or (recipe.save_every and step % recipe.save_every == 0):
                    progress.loss_sum, progress.norm_sum = sums.tolist()
                    hooks.flush()
                    if accelerator.is_main_process:
                        checkpoint.save(files.last, progress, model, average, optimizer, scaler)
                    speed.restart(step)
                if asked():
                    raise KeyboardInterrupt
                if validated:
                    try:
                        hooks.on_validation(step, dict(progress.history[-1]))
                    except Stopped as stopped:
                        log.info("stopped: %s", stopped)
                        return progress
                    if _patience_ended(progress, recipe):
                        log.info("stopped: no better %s for %d validations", recipe.monitor, progress.stale)
                        return progress
    return progress


def _judged(model: nn.Module, average: MovingAverage | None, accelerator: Accelerator) -> nn.Module:
    """What validation judges; statistics that every process gathered by itself are those of the first one."""
    judged = average.module if average else model
    if accelerator.num_processes > 1:
        for buffer in judged.buffers():
            buffer.copy_(broadcast(buffer))
    return judged


def _take(row: dict[str, float], progress: Progress, stage: Stage, recipe: TrainRecipe) -> bool:
    """Add a validation to the history; whether it is the best so far."""
    if recipe.monitor not in row:
        raise DeepfakeError(f"monitor={recipe.monitor!r} is not measured; choose one of {', '.join(sorted(row))}")
    better = not progress.best or (
        row[recipe.monitor] > progress.best[recipe.monitor]
        if recipe.mode == "max"
        else row[recipe.monitor] < progress.best[recipe.monitor]
    )
    progress.history.append(row)
    progress.stale = 0 if better else progress.stale + 1
    progress.waited = 0 if better else progress.waited + 1
    if better:
        progress.best = row
    schedule = stage.phase.schedule
    if schedule.name == "plateau" and progress.waited > schedule.patience:
        progress.reduction *= schedule.factor
        progress.waited = 0
    return better


def _patience_ended(progress: Progress, recipe: TrainRecipe) -> bool:
    return recipe.patience is not None and progress.stale >= recipe.patience


def _finite(loss: torch.Tensor, step: int) -> float:
    value = float(loss)
    if not abs(value) < float("inf"):
        raise DeepfakeError(
            f"the loss is {value} at step {step}; lower the learning rate, set grad_clip=1 or train in fp32"
        )
    return value


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    network = model.get_submodule("network")
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}


def _line(row: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in row.items())


class _Speed:
    """Samples per second since the last checkpoint."""

    def __init__(self, recipe: TrainRecipe, step: int) -> None:
        self.samples = recipe.batch_size * recipe.accumulate
        self.restart(step)

    def restart(self, step: int) -> None:
        self.step, self.clock = step, time.perf_counter()

    def until(self, step: int) -> float:
        return (step - self.step) * self.samples / (time.perf_counter() - self.clock)


@contextmanager
def _asked_to_stop(accelerator: Accelerator) -> Iterator[Callable[[], bool]]:
    """Whether the process was asked to stop: the step in hand is finished first; asked twice, it stops at once.

    Several processes must stop together, which their launcher sees to; and only a main thread can listen.
    """
    asked: list[int] = []
    if accelerator.num_processes > 1 or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        log.info("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
