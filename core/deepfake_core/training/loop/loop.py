"""The training loop, visible from top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from functools import partial

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors.torch import save_file
from torch import nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.progress import FIRST_LINE_S, LINE_S, duration, track
from deepfake_core.training.data.batches import Feed, Part
from deepfake_core.training.loop import checkpoint
from deepfake_core.training.loop.accelerator import fastest_convolutions, seed_everything
from deepfake_core.training.loop.checkpoint import Progress
from deepfake_core.training.loop.feed import Ready
from deepfake_core.training.loop.hooks import Files, Hooks, Stopped
from deepfake_core.training.loop.memory import memory_advice, recompute_activations
from deepfake_core.training.loop.optim import MovingAverage, set_rates, train_mode
from deepfake_core.training.loop.step import Stepper, working_precision
from deepfake_core.training.loop.stopping import stop_requests
from deepfake_core.training.recipes.budget import Agree, Budget, Clock, limited
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
    *,
    deadline: float | None = None,
    after: float = 0.0,
    clock: Clock = time.monotonic,
) -> Progress:
    """Train ``network`` in place, save the weights of the best validation, and return the progress.

    A run that was interrupted in any way goes on from its last checkpoint when it is started again with the same
    files. On a CPU it ends with the same bits as an uninterrupted run, unless the clock has a say in its length.

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
        deadline: Moment of the clock at which everything has to be done, whatever the length of the phases.
        after: Time to keep free for what comes after the last validation, in times of a validation.
        clock: The clock, in s.

    Raises:
        TrainingDataError: More samples cannot be read than the recipe allows.
        DeepfakeError: The memory is exhausted, the loss is not finite, or the deadline leaves no time; the message
            names the remedies.
        KeyboardInterrupt: The process was asked to stop; its state has been saved.
    """
    hooks = hooks or Hooks()
    device = accelerator.device
    stages = plan(recipe, feed.steps_per_epoch)
    length = None if any(stage.steps is None for stage in stages) else sum(stage.steps or 0 for stage in stages)
    eval_every = recipe.eval_every or feed.steps_per_epoch

    model = WithPreprocess(network, detector.preprocess).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = MovingAverage(model, recipe.ema) if recipe.ema else None
    scaler = torch.amp.GradScaler(device.type, enabled=working_precision(recipe.precision, device) == "fp16")
    state = checkpoint.read(files.last) if files.last.exists() else None
    progress = checkpoint.restore(state, model, average) if state else Progress()
    if state:
        log.info("going on after step %d%s", progress.step, f" of {length}" if length else "")
        files.write_metrics(progress.history)
        if _patience_ended(progress, recipe) or len(progress.ends) == len(stages):
            return progress

    sums = torch.tensor([progress.loss_sum, progress.norm_sum, progress.norms], device=device)
    ready = Ready(feed, accelerator, recipe.accumulate, hooks.augment)
    said = _Said(progress, clock)
    agree = partial(_of_first, device) if accelerator.num_processes > 1 else None
    if deadline is not None:
        _refuse_late(deadline - clock(), (progress.closing_seconds or 0.0) * (1 + after), agree)
    small_until = recipe.pairs.small_until if length is None or deadline is not None else 0.0
    with (
        memory_advice(),
        worker_errors(),
        fastest_convolutions(device),
        recompute_activations(detector, network, recipe.checkpointing),
        stop_requests(accelerator) as asked_to_stop,
        ExitStack() as opened,
    ):
        samples: Generator[list[Part]] | None = None
        for number, stage in enumerate(stages):
            if number < len(progress.ends):
                continue
            first, later = (progress.ends[-1] if progress.ends else 0), stages[number + 1 :]
            if stage.steps is not None and progress.step >= first + stage.steps:  # earlier versions kept no ends
                progress.ends.append(first + stage.steps)
                continue
            fresh = progress.step == first
            if fresh:
                progress.reduction, progress.waited, progress.stale = 1.0, 0, 0
                progress.share, progress.phase_seconds = 0.0, 0.0
            stage = limited(stage, later, progress, None if deadline is None else deadline - clock())
            groups = detector.param_groups(network)
            take_step = Stepper(detector, model, groups, stage, recipe, scaler, accelerator, hooks.targets)
            optimizer = take_step.optimizer
            if state and not fresh:
                checkpoint.restore_optimizer(state, optimizer, scaler)
            closings = 0.0 if later else 1.0 + after
            budget = Budget(stage, first, progress, every=eval_every, closings=closings, clock=clock, agree=agree)
            log.info("phase %s: %s", stage.phase.name, _described(budget, progress))

            while not budget.over:
                if small_until and sum(s.share for s in stages[:number]) + stage.share * progress.share >= small_until:
                    small_until, samples = 0.0, None  # samples are made anew, with their full size
                    feed.grow(progress.step)
                    log.info("inputs have their full size from step %d on", progress.step)
                if samples is None:
                    opened.close()
                    samples = opened.enter_context(closing(_tracked(ready, progress.step, length)))
                    budget.restarted()
                parts = next(samples)
                seed_everything(recipe.seed, progress.step, accelerator.process_index)
                set_rates(optimizer, stage.phase, *budget.place, progress.reduction)
                loss, norm = take_step(parts)
                if average:
                    average.update(progress.step)
                for part in parts:
                    feed.note(part, progress.unreadable)
                sums += torch.stack([loss, *_counted(norm, scaler)])
                progress.summed += 1
                progress.step += 1
                progress.images += recipe.batch_size * len(parts)
                budget.stepped()

                step = progress.step
                if step % max(1, eval_every // LOGS_PER_VALIDATION) == 0:
                    rates = {f"lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
                    hooks.log(step, {"train/loss": _finite(loss, step), "train/grad_norm": float(norm), **rates})
                if said.is_due() and accelerator.is_main_process:
                    left = min(budget.left_seconds(later), math.inf if deadline is None else deadline - clock())
                    log.info("%s", said.line(progress, sums, left))
                if step % feed.steps_per_epoch == 0 and (names := feed.close_epoch(progress.unreadable)):
                    files.record_images((), names)
                validated = budget.validates(step % eval_every == 0)
                if validated:
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
                    log.info("%s images_per_s=%.4g", _formatted(row), said.images_per_s(progress))
                    hooks.log(step, {f"validation/{name}": value for name, value in row.items()})
                    if accelerator.is_main_process:
                        files.write_metrics(progress.history)
                    budget.validated()
                if budget.over:
                    progress.ends.append(step)
                if validated or asked_to_stop() or (recipe.save_every and step % recipe.save_every == 0):
                    progress.loss_sum, progress.norm_sum, progress.norms = sums.tolist()
                    hooks.flush()
                    if accelerator.is_main_process:
                        checkpoint.save(files.last, progress, model, average, optimizer, scaler)
                    budget.saved()
                    said.restart(progress)
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


def _tracked(ready: Ready, step: int, length: int | None) -> Generator[list[Part]]:
    """Yield the parts of each step from ``step`` on, with a bar on a terminal; the loop itself says more in the log."""
    with closing(ready.from_step(step, length)) as steps:
        yield from track(steps, "training", total=length and length - step, lines=False)


def _of_first(device: torch.device, numbers: list[float]) -> list[float]:
    """Return the numbers of the first process in all processes."""
    return [float(number) for number in broadcast(torch.tensor(numbers, device=device)).tolist()]


def _refuse_late(left: float, needed: float, agree: Agree | None) -> None:
    """Refuse to train where no time is left for a step and a validation."""
    left, needed = agree([left, needed]) if agree else (left, needed)
    if left <= needed:
        taken = f", and the last validation and the package take {duration(needed)}" if needed else ""
        raise DeepfakeError(
            f"no time is left to train: the run has to end in {duration(max(0.0, left))}{taken}; give it a later "
            "end by --stop-at or --minutes"
        )


def _described(budget: Budget, progress: Progress) -> str:
    steps, seconds = budget.stage.steps, budget.stage.seconds
    parts = [f"from step {progress.step}" if steps is None else f"steps {progress.step} to {budget.first + steps}"]
    if seconds is not None:
        parts.append(f"{duration(max(0.0, seconds - progress.phase_seconds))} by the clock")
    return ", ".join(parts)


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


class _Said:
    """How fast the run is since its last checkpoint, and when its log said so."""

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self.clock = clock
        self.restart(progress)
        self.due = self.begun + FIRST_LINE_S

    def restart(self, progress: Progress) -> None:
        self.images, self.begun = progress.images, self.clock()
        self.due = self.begun + LINE_S

    def is_due(self) -> bool:
        due = self.clock() >= self.due
        if due:
            self.due = self.clock() + LINE_S
        return due

    def images_per_s(self, progress: Progress) -> float:
        return (progress.images - self.images) / max(1e-9, self.clock() - self.begun)

    def line(self, progress: Progress, sums: torch.Tensor, left_seconds: float) -> str:
        loss = float(sums[0]) / progress.summed
        return (
            f"step {progress.step}: loss={loss:.4g}, {self.images_per_s(progress):.4g} images/s; "
            f"{duration(progress.seconds)} used, about {duration(left_seconds)} left"
        )
