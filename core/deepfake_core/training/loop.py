"""The training loop, visible from top to bottom."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, Subset

from deepfake_core.detector import Detector, WithPreprocess
from deepfake_core.progress import track
from deepfake_core.training.recipe import TrainRecipe
from deepfake_registry.files import atomic_path

log = logging.getLogger("deepfake.training")

Validate = Callable[[nn.Module], dict[str, float]]


def learning_rate(step: int, recipe: TrainRecipe) -> float:
    """Linear warm-up over ``warmup · steps``, then a cosine to zero; a plain function of the step."""
    warmup = max(1, round(recipe.warmup * recipe.steps))
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, recipe.steps - warmup)))


def fit(
    detector: Detector,
    network: nn.Module,
    dataset: Dataset[dict[str, Tensor]],
    validate: Validate,
    recipe: TrainRecipe,
    run_dir: Path,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Train ``network`` in place, keep ``best.safetensors``, and return the best validation's metrics.

    ``dataset`` yields groups of samples (such as a real face with its fake), ``steps × batch_size`` samples in
    all, in the order of training. A run that was cut off goes on from the last validation when it is started
    again with the same run directory.
    """
    device = accelerator.device
    model = WithPreprocess(network, detector.preprocess).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(model, avg_fn=_ema(recipe.ema), use_buffers=True)
    optimiser = torch.optim.AdamW(_decayed(model, recipe.weight_decay), lr=recipe.lr)
    start, best = _resume(run_dir, model, average, optimiser, device)
    columns: list[str] = []
    model.train()
    clock, shown = time.perf_counter(), start
    total_loss = torch.zeros((), device=device)
    batches = track(_batches(dataset, recipe, start, device), "training", total=recipe.steps - start)
    for step, batch in enumerate(batches, start):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, recipe)
        smoothed = batch["fake"] * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            output = model(batch["images"])
        output = tuple(part.float() for part in output) if isinstance(output, tuple) else output.float()
        loss = detector.loss(output, {**batch, "fake": smoothed})
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update_parameters(model)
        total_loss += loss.detach()
        if (step + 1) % recipe.eval_every and step + 1 != recipe.steps:
            continue

        metrics = validate(average.module)
        speed = (step + 1 - shown) * recipe.batch_size / (time.perf_counter() - clock)
        row = {"step": step + 1, "loss": float(total_loss) / (step + 1 - shown), **metrics, "images_per_s": speed}
        log.info(" ".join(f"{name}={value:.4g}" for name, value in row.items()))
        columns = columns or list(row)
        _append(run_dir / "metrics_log.csv", row, columns)
        if _better(metrics, best, recipe):
            best = metrics
            with atomic_path(run_dir / "best.safetensors") as path:
                save_file(_weights(average), path)
        _checkpoint(run_dir, step + 1, best, model, average, optimiser)
        clock, shown = time.perf_counter(), step + 1
        total_loss.zero_()
    return best


def _batches(
    dataset: Dataset[dict[str, Tensor]], recipe: TrainRecipe, start: int, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    group = len(dataset[0]["fake"])
    per_step = recipe.batch_size // group
    rest = Subset(dataset, range(start * per_step, recipe.steps * per_step))
    workers = recipe.workers if recipe.workers >= 0 else torch.get_num_threads()
    loader = DataLoader(
        rest,
        batch_size=per_step,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )
    for batch in loader:
        yield {name: value.flatten(0, 1).to(device, non_blocking=True) for name, value in batch.items()}


def _ema(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Moving average whose decay grows from 0.1, so that early steps are not dominated by the initial weights."""

    def update(average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        keep = min(decay, (1 + float(count)) / (10 + float(count)))
        return average * keep + value * (1 - keep) if average.is_floating_point() else value

    return update


def _decayed(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and kernels decay; biases and normalisation do not."""
    kernels = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _better(metrics: dict[str, float], best: dict[str, float], recipe: TrainRecipe) -> bool:
    if not best:
        return True
    new, old = metrics[recipe.monitor], best[recipe.monitor]
    return new > old if recipe.mode == "max" else new < old


def _weights(average: AveragedModel) -> dict[str, Tensor]:
    network = average.module.get_submodule("network")
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}


def _append(path: Path, row: dict[str, float], columns: list[str]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _checkpoint(
    run_dir: Path,
    step: int,
    best: dict[str, float],
    model: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
) -> None:
    state = {
        "step": step,
        "best": best,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with atomic_path(run_dir / "last.pt") as path:
        torch.save(state, path)


def _resume(
    run_dir: Path, model: nn.Module, average: AveragedModel, optimiser: torch.optim.Optimizer, device: torch.device
) -> tuple[int, dict[str, float]]:
    path = run_dir / "last.pt"
    if not path.exists():
        return 0, {}
    state = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    log.info("resuming after step %d", state["step"])
    return int(state["step"]), dict(state["best"])
