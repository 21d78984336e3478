"""The training loop, visible from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors.torch import save_file
from torch import nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.progress import track
from deepfake_core.training.data.batches import Feed
from deepfake_core.training.loop import checkpoint
from deepfake_core.training.loop.checkpoint import Progress
from deepfake_core.training.loop.feed import Ready
from deepfake_core.training.loop.hooks import Files, Hooks, Stopped
from deepfake_core.training.loop.memory import memory_advice, recompute_activations
from deepfake_core.training.loop.moving_average import MovingAverage
from deepfake_core.training.loop.optim import set_rates, train_mode
from deepfake_core.training.loop.seeding import seed_everything
from deepfake_core.training.loop.step import Stepper, working_precision
from deepfake_core.training.loop.stopping import stop_requests
from deepfake_core.training.recipes.stages import Stage, plan
from deepfake_core.training.workers import worker_errors
from deepfake_registry.files import atomic_path

log = logging.getLogger("deepfake.training")

LOGS_PER_VALIDATION = 10
"""How often the trackers get the loss between two validations."""


def fit(
    detector: Detector,
    network: nn.Module,
    feed: Feed,
    validate: Callable[[nn.Module], dict[str, float]],
    recipe: TrainRecipe,
    files: Files,
    accelerator: Accelerator,
    hooks: Hooks | None = None,
) -> Progress:
    """Train ``network`` in place, save the weights of the best validation, and return the progress.

    A run that was interrupted in any way goes on from its last checkpoint when it is started again with the same
    files. On a CPU it ends with the same bits as an uninterrupted run.

    Args:
        detector: Detector that defines the loss, the parameter groups and the preprocessing.
        network: Network of the detector; its weights are changed in place.
        feed: What gives the run its samples.
        validate: Function that computes the validation metrics of a
            :class:`~deepfake_core.contract.detector.WithPreprocess`; every process calls it.
        recipe: Recipe of the run.
        files: Files of the run, for checkpoints and metrics.
        accelerator: Accelerator of the run.
        hooks: Functions that observe or change the run.

    Raises:
        TrainingDataError: More samples cannot be read than the recipe allows.
        DeepfakeError: The memory is exhausted, or the loss is not finite; the message names the remedies.
        KeyboardInterrupt: The process was asked to stop; its state has been saved.
    """
    hooks = hooks or Hooks()
    device = accelerator.device
    stages = plan(recipe, feed.steps_per_epoch)
    total = stages[-1].last
    eval_every = recipe.eval_every or feed.steps_per_epoch

    model = WithPreprocess(network, detector.preprocess).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = MovingAverage(model, recipe.ema) if recipe.ema else None
    scaler = torch.amp.GradScaler(device.type, enabled=working_precision(recipe.precision, device) == "fp16")
    state = checkpoint.read(files.last) if files.last.exists() else None
    progress = checkpoint.restore(state, model, average) if state else Progress()
    if state:
        log.info("going on after step %d of %d", progress.step, total)
        files.write_metrics(progress.history)
        if _patience_ended(progress, recipe):
            return progress

    sums = torch.tensor([progress.loss_sum, progress.norm_sum, progress.norms], device=device)
    ready = Ready(feed, accelerator, recipe.accumulate, hooks.augment)
    speed = _Speed(recipe, progress.step)
    with (
        memory_advice(),
        worker_errors(),
        recompute_activations(detector, network, recipe.checkpointing),
        stop_requests(accelerator) as asked_to_stop,
        closing(ready.from_step(progress.step, total)) as steps,
    ):
        samples = track(steps, "training", total=total - progress.step)
        for stage in (stage for stage in stages if stage.last > progress.step):
            take_step = Stepper(detector, model, detector.param_groups(network), stage, recipe, scaler, accelerator)
            optimizer = take_step.optimizer
            if state and progress.step > stage.first:
                checkpoint.restore_optimizer(state, optimizer, scaler)
            else:
                progress.reduction, progress.waited, progress.stale = 1.0, 0, 0
            log.info("phase %s: steps %d to %d", stage.phase.name, progress.step, stage.last)

            while progress.step < stage.last:
                parts = next(samples)
                seed_everything(recipe.seed, progress.step, accelerator.process_index)
                set_rates(optimizer, stage, progress.step, progress.reduction)
                loss, norm = take_step(parts)
                if average:
                    average.update(model, progress.step)
                for part in parts:
                    feed.note(part, progress.unreadable)
                sums += torch.stack([loss, *_counted(norm, scaler)])
                progress.summed += 1
                progress.step += 1

                step, validated = progress.step, False
                if step % max(1, eval_every // LOGS_PER_VALIDATION) == 0:
                    rates = {f"lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
                    hooks.log(step, {"train/loss": _finite(loss, step), "train/grad_norm": float(norm), **rates})
                if step % feed.steps_per_epoch == 0 and (names := feed.close_epoch(progress.unreadable)):
                    files.record_images((), names)
                if step % eval_every == 0 or step == total:
                    validated = True
                    mean = accelerator.reduce(sums, "mean") / progress.summed
                    sums.zero_()
                    progress.summed = 0
                    row = {
                        "step": step,
                        "epoch": step / feed.steps_per_epoch,
                        "lr": max(group["lr"] for group in optimizer.param_groups),
                        "loss": _finite(mean[0], step),
                        "grad_norm": float(mean[1] / mean[2]),
                        **validate(_model_to_validate(model, average, accelerator)),
                    }
                    train_mode(model)
                    if _add_validation(row, progress, stage, recipe) and accelerator.is_main_process:
                        with atomic_path(files.best) as path:
                            save_file(_weights(average.module if average else model), path)
                    log.info("%s images_per_s=%.4g", _formatted(row), speed.until(step))
                    hooks.log(step, {f"validation/{name}": value for name, value in row.items()})
                    if accelerator.is_main_process:
                        files.write_metrics(progress.history)
                if validated or asked_to_stop() or (recipe.save_every and step % recipe.save_every == 0):
                    progress.loss_sum, progress.norm_sum, progress.norms = sums.tolist()
                    hooks.flush()
                    if accelerator.is_main_process:
                        checkpoint.save(files.last, progress, model, average, optimizer, scaler)
                    speed.restart(step)
                if asked_to_stop():
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


def _model_to_validate(model: nn.Module, average: MovingAverage | None, accelerator: Accelerator) -> nn.Module:
    """Return the averaged model, or the model itself where there is no average.

    With several processes, every process takes over the buffers (the running statistics) of the first one.
    """
    validated = average.module if average else model
    if accelerator.num_processes > 1:
        for buffer in validated.buffers():
            buffer.copy_(broadcast(buffer))
    return validated


def _add_validation(row: dict[str, float], progress: Progress, stage: Stage, recipe: TrainRecipe) -> bool:
    """Add the metrics of a validation to the progress, and return whether it is the best so far."""
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


def _counted(norm: torch.Tensor, scaler: torch.amp.GradScaler) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a gradient norm and 1, or 0 and 0 where fp16 overflowed, so that the scaler skipped the step."""
    counts = torch.isfinite(norm) if scaler.is_enabled() else torch.ones_like(norm, dtype=torch.bool)
    return torch.where(counts, norm, 0.0), counts.to(norm.dtype)


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


def _formatted(row: Mapping[str, float]) -> str:
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
