"""A training run of a fraction of a second, as a module for tests and as a program that can be killed.

Run as ``python tiny_run.py FOLDER RECIPE_JSON [--kill-at-step N | --tear-checkpoint N]``.
"""

from __future__ import annotations

import csv
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.training.data.batches import Batches
from deepfake_core.training.loop import checkpoint
from deepfake_core.training.loop.accelerator import make_accelerator
from deepfake_core.training.loop.hooks import Hooks
from deepfake_core.training.loop.loop import fit
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

RECIPE = TrainRecipe(
    phases=(Phase(steps=12, lr=1e-2),), batch_size=8, eval_every=4, workers=0, ema=0.5, channels_last=False
)


class Unread(TorchDispatchMode):
    """Refuses every operation after which the host waits for a value of the device."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = [one for one in args[1] if one is not None and one.dtype == torch.bool] if name == "index" else []
        assert name not in self.WAITS, f"the step waits for {name}"
        assert not masks, "the step waits for a mask"
        return func(*args, **(kwargs or {}))


class Network(nn.Module):
    def __init__(self, normalise: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), normalise, nn.ReLU(), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(144, 1), nn.Flatten(0))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


class Bright(Detector):
    """Tells bright pictures (fake) from dark ones; has dropout, so that the seed of each step matters."""

    preprocess = PreprocessSpec(
        crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    )

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return Network(nn.BatchNorm2d(4))

    def param_groups(self, network):
        return {"backbone": list(network.body.parameters()), "head": list(network.head.parameters())}

    def checkpoint_modules(self, network):
        return (network.body,)


class Steady(Bright):
    """Without anything that depends on how a batch is shared out among processes."""

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        network = Network(nn.GroupNorm(2, 4))
        network.head[0] = nn.Identity()
        return network


class Pixels(TrainingSet):
    """Dark and bright pictures; every item that is read is written down in ``reads``, when that is given."""

    def __init__(self, length: int = 30, seed: int = 0, reads: Path | None = None, bad: tuple[int, ...] = ()) -> None:
        self.length, self.seed, self.reads, self.bad = length, seed, reads, bad

    def __len__(self) -> int:
        return self.length

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.length)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, item = key
        if self.reads is not None:
            with self.reads.open("a") as stream:
                stream.write(f"{epoch},{item}\n")
        rng = np.random.default_rng([self.seed, epoch, item])
        fake = item % 2
        image = rng.integers(110 * fake, 140 + 115 * fake, (1, 8, 8, 3)).astype(np.uint8)
        bad = item in self.bad
        return {
            "images": torch.from_numpy(image * (not bad)),
            "fake": torch.tensor([float(fake)]),
            "weight": torch.tensor([float(not bad)]),
            "unreadable": torch.tensor([bad]),
        }

    def name(self, item: int) -> str:
        return f"picture{item}.png"


class Folder:
    """The simplest place for what the loop writes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.last, self.best = folder / "last.pt", folder / "best.safetensors"
        self.unreadable: list[str] = []

    def write_metrics(self, history) -> None:
        if not history:
            return
        with atomic_path(self.folder / "metrics_log.csv") as path, path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(history[0]))
            writer.writeheader()
            writer.writerows(history)

    def record_images(self, first, unreadable) -> None:
        self.unreadable += unreadable


def validate(model: nn.Module) -> dict[str, float]:
    held_out = Pixels(16, seed=99)
    items = [held_out[0, index] for index in range(16)]
    model.eval()
    with torch.inference_mode():
        logit = torch.cat([model(item["images"]) for item in items])
    fake = torch.cat([item["fake"] for item in items])
    loss = nn.functional.binary_cross_entropy_with_logits(logit, fake)
    above = (logit[fake == 1][:, None] > logit[fake == 0][None]).float().mean()
    return {"val_loss": float(loss), "auc": float(above)}


def run(folder: Path, recipe: TrainRecipe = RECIPE, *, detector=None, data=None, hooks=None, check=validate, **options):
    """Train; returns the progress and the folder."""
    files = Folder(folder)
    detector = detector or Bright()
    network = detector.build()
    accelerator = make_accelerator("cpu")
    progress = fit(
        detector,
        network,
        Batches(Pixels() if data is None else data, recipe, accelerator),
        check,
        recipe,
        files,
        accelerator,
        hooks or Hooks(),
        **options,
    )
    return progress, files


def _main(folder: str, recipe: str, mode: str = "", number: str = "0") -> None:
    torch.set_num_threads(1)
    target, count = int(number), 0
    write = checkpoint.torch.save

    def torn(state, path):
        nonlocal count
        write(state, path)
        count += 1
        if mode == "--tear-checkpoint" and count == target:
            with Path(path).open("r+b") as stream:
                stream.truncate(Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def killed(step, _values):
        if mode == "--kill-at-step" and step == target:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.torch.save = torn
    detector = Steady() if mode == "--steady" else Bright()
    reads = Path(folder) / "reads.csv" if mode != "--steady" else None
    Path(folder).mkdir(parents=True, exist_ok=True)
    run(
        Path(folder),
        TrainRecipe.model_validate_json(recipe),
        detector=detector,
        data=Pixels(reads=reads),
        hooks=Hooks(log=killed),
    )


if __name__ == "__main__":
    _main(*sys.argv[1:])
