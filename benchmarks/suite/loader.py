"""Loader throughput as a ratio in one run: images from a crop store beside a plain torch dataset with the same work.

The plain dataset opens each JPEG with PIL and lets torchvision crop, mirror, shift, scale and rotate, blur or encode,
change colours, resize to 224 px and normalise. Both use the same probabilities and strengths, and both run in a
``DataLoader`` with the same number of workers. Run from the repository root on an idle machine, with a folder of
256-px JPEGs in class folders::

    python benchmarks/suite/loader.py path/to/pictures

The goal is 1.5.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import Key
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.runtimes.torchvision_ops import ensure_torchvision
from deepfake_core.training.data.pictures import PictureSet
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

SIZE = 224
BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encode:
    """JPEG in memory and back; torchvision's own needs its compiled operators."""

    def __call__(self, image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=random.randint(60, 100))  # noqa: S311 - not for secrets
        return Image.open(buffer).convert("RGB")


class Plain(Dataset[tuple[Tensor, float]]):
    """Plain dataset: a list of files, PIL, and transforms of torchvision, as in the policy ``radar``."""

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        ensure_torchvision()
        from torchvision.transforms import v2  # type: ignore[import-not-found,import-untyped,unused-ignore]

        self.files = files
        self.transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(0.5),
                v2.Resize((SIZE, SIZE), antialias=True),
                v2.RandomApply([v2.ColorJitter(0.2, 0.2, 0.2, 0.05)], 0.8),
                v2.RandomApply(
                    [v2.RandomAffine(15, (0.0625, 0.0625), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR)],
                    0.5,
                ),
                v2.RandomApply([v2.RandomChoice([v2.GaussianBlur((3, 7)), Encode()])], 0.5),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        path, fake = self.files[index]
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        side = random.uniform(0.85, 1.0)  # noqa: S311
        width, height = int(image.width * side), int(image.height * side)
        left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)  # noqa: S311
        image = image.crop((left, top, left + width, top + height))
        pixels: Tensor = self.transform(image)
        return pixels, float(fake)


class Keys(Sampler[list[Key]]):
    """Sampler of batches of the keys of one epoch."""

    def __init__(self, data: PictureSet, epoch: int) -> None:
        self.data, self.epoch = data, epoch

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.data.order(self.epoch).tolist()
        for first in range(0, len(order), BATCH):
            yield [(self.epoch, item) for item in order[first : first + BATCH]]


def ours(data: PictureSet, epoch: int, workers: int) -> Iterator[int]:
    """Yield the sizes of batches through the store, normalised where the network is: here, on the same processors."""
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    for batch in DataLoader(data, batch_sampler=Keys(data, epoch), num_workers=workers, prefetch_factor=4):
        pixels = batch["images"].flatten(0, 1).permute(0, 3, 1, 2).to(torch.float32)
        yield len((pixels / 255.0 - mean) / std)


def plain(data: Plain, workers: int) -> Iterator[int]:
    """Yield the sizes of batches of the plain dataset."""
    for images, _ in DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers, prefetch_factor=4):
        yield len(images)


def seconds(batches: Callable[[], Iterable[int]]) -> tuple[float, int]:
    """Return time in s and images of an epoch after its first batch, so that starting the workers does not count."""
    counts = iter(batches())
    next(counts)
    start = time.perf_counter()
    done = sum(counts)
    return time.perf_counter() - start, done


def main() -> None:
    """Print both speeds and the median of their ratios, pair by pair."""
    parser = argparse.ArgumentParser(description="loader throughput, as a ratio")
    parser.add_argument("folder", type=Path, help="class folders of JPEGs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=2, help="how often each file comes in an epoch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = PreprocessSpec(
        crop=WholeImage(), resize=Resize(height=SIZE, width=SIZE), normalize=Normalize(mean=MEAN, std=STD)
    )
    dataset = ImageFolder(options.folder)
    files = [(sample.path, int(sample.is_fake)) for sample in dataset]
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(dataset, folder, crop="whole")
        rows = torch.arange(len(store)).repeat(options.repeat).numpy()
        pictures = PictureSet(store, rows, spec, TrainRecipe(augment="affine-codec"))
        reference = Plain(files * options.repeat)
        speeds: dict[str, list[float]] = {"store": [], "plain": []}
        for turn in range(options.pairs):
            works: list[tuple[str, Callable[[], Iterable[int]]]] = [
                ("store", partial(ours, pictures, turn, options.workers)),
                ("plain", partial(plain, reference, options.workers)),
            ]
            for name, work in works if turn % 2 else reversed(works):
                taken, count = seconds(work)
                speeds[name].append(count / taken)
    ratios = [ours / theirs for ours, theirs in zip(speeds["store"], speeds["plain"], strict=True)]
    for name, values in speeds.items():
        print(f"loader: {name}  {statistics.median(values):8.0f} images/s")
    print(f"loader: ratios {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print(f"loader: median ratio {statistics.median(ratios):.2f}   goal 1.50")


if __name__ == "__main__":
    main()
