"""Cost of the training loop relative to a bare hand-written one, as a ratio in one run.

Run ``python benchmarks/suite/loop.py [--device auto] [--steps 20] [--rounds 5]``. Both train the same detector on the
same samples, read by the same number of loading processes; rounds alternate, and the median of their ratios counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import Optimizer, Phase, Schedule, TrainRecipe
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.loading.load import load
from deepfake_core.training.data.batches import Batches
from deepfake_core.training.loop.accelerator import make_accelerator
from deepfake_core.training.loop.loop import fit
from deepfake_core.training.runs.rundir import RunDir

WARM = 5
"""Steps that are not timed at the beginning."""


class Noise(TrainingSet):
    """Random images in memory."""

    def __init__(self, size: int, length: int) -> None:
        rng = np.random.default_rng(0)
        self.images = torch.from_numpy(rng.integers(0, 256, (length, 1, size, size, 3), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self.images)

    def order(self, epoch: int) -> Any:
        return np.random.default_rng(epoch).permutation(len(self))

    def __getitem__(self, key: Any) -> dict[str, torch.Tensor]:
        item = key[1] if isinstance(key, tuple) else key
        return {"images": self.images[item], "fake": torch.tensor([float(item % 2)]), "weight": torch.ones(1)}


class Clock:
    """Loss of a detector that records the time of each step."""

    def __init__(self, detector: Detector) -> None:
        self.loss, self.device = detector.loss, torch.device("cpu")
        self.times: list[float] = []
        detector.loss = self  # type: ignore[method-assign]

    def __call__(self, output: Any, batch: Any) -> torch.Tensor:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        return self.loss(output, batch)

    def per_step(self) -> float:
        """Return the mean time of a step in s, without the first steps."""
        took = (self.times[-1] - self.times[WARM]) / (len(self.times) - 1 - WARM)
        self.times.clear()
        return took


def bare(detector: Detector, network: nn.Module, data: Noise, recipe: TrainRecipe, device: torch.device) -> None:
    """Train by the loop that one would write by hand."""
    steps = recipe.phases[0].steps or 0
    model = WithPreprocess(network, detector.preprocess).to(device).train()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    loader = DataLoader(
        data,
        recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=recipe.workers,
        pin_memory=device.type == "cuda",
    )
    step = 0
    while step < steps:
        for batch in loader:
            batch = {name: value.flatten(0, 1).to(device, non_blocking=True) for name, value in batch.items()}
            loss = detector.loss(model(batch["images"]), batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step == steps:
                break


def ours(detector: Detector, network: nn.Module, data: Noise, recipe: TrainRecipe, device: str) -> None:
    """Train by the project's loop, which also clips and logs gradient norms and keeps the state for resuming."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder) / "run")
        accelerator = make_accelerator(device)
        feed = Batches(data, recipe, accelerator)
        fit(detector, network, feed, lambda _model: {"auc": 0.5}, recipe, run, accelerator)
        run.close()


def main() -> None:
    """Measure and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    steps = options.steps + WARM
    recipe = TrainRecipe(
        phases=(Phase(steps=steps, lr=1e-4, schedule=Schedule(name="constant", warmup=0.0)),),
        optimizer=Optimizer(weight_decay=0.05),
        batch_size=options.batch_size,
        eval_every=steps,
        workers=0,
    )
    detector = load("lite", untrained=True, device="cpu").detector
    device = make_accelerator(options.device).device
    data = Noise(detector.preprocess.resize.height, 4 * options.batch_size)
    clock = Clock(detector)
    clock.device = device
    ratios = []
    for _ in range(options.rounds):
        took = []
        for loop in (bare, ours):
            torch.manual_seed(0)
            loop(detector, detector.build(), data, recipe, device if loop is bare else options.device)
            took.append(clock.per_step())
        ratios.append(took[1] / took[0])
        print(f"bare {1000 * took[0]:.1f} ms a step, ours {1000 * took[1]:.1f} ms: {ratios[-1]:.3f}")
    print(f"training loop / bare loop, median of {len(ratios)}: {statistics.median(ratios):.3f} (goal: at most 1.03)")


if __name__ == "__main__":
    main()
