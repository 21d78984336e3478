"""Time and memory of a crop store with many rows: it is opened, checked, split and sampled as a training run does it.

The index is as large as that of a real store; all rows share one picture. Memory is what Python and NumPy allocate, at
the peak of each step and after it; the mapped files of the index are not counted, because the system may drop them at
any time. Run from the repository root::

    python benchmarks/suite/store_size.py --rows 1000000
    python benchmarks/suite/store_size.py --rows 10000000 --only open
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import Pairs, PseudoFakes, TrainRecipe
from deepfake_core.data.crops.coding import encode
from deepfake_core.data.crops.face_mesh import POINTS as MESH_POINTS
from deepfake_core.data.crops.neighbours import COUNT
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import COLUMNS, INDEX, RECORD, SHARDS, CropStore, StoreSpec
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.training.checks import check_classes
from deepfake_core.training.data.labelled import labelled_training_data
from deepfake_core.training.data.training_data import TrainingData
from deepfake_core.training.pairs.prepare import pairs_training_data
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize

SIDE = 64
SOURCES = 5
SAMPLES, CHUNKS = 1000, 100
SPEC = PreprocessSpec(
    crop=FaceCrop(margin=1.3), resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
)
RECIPE = TrainRecipe(augment="none", data_share=0.9)
PAIRS = TrainRecipe(
    samples="pairs", data_share=0.9, pairs=Pairs(validation=2, pseudo=PseudoFakes(reconstruct=0.0, labelled=0.5))
)


def write_store(folder: Path, rows: int) -> Path:
    """Write a store of ``rows`` pictures, each of a group and a file of its own, half of them fake."""
    data = encode(draw_face(0, SIDE), "jpeg", 90)
    for name in (SHARDS, INDEX):
        (folder / name).mkdir(parents=True)
    (folder / SHARDS / "000000.tar").write_bytes(data)
    numbers = np.arange(rows)
    fixed = {
        "length": len(data),
        "crc": zlib.crc32(data),
        "size": SIDE,
        "box": (10.0, 10.0, SIDE - 20.0, SIDE - 20.0),
        "frame": -1,
    }
    own = {"fake": numbers % 2, "source": numbers * SOURCES // rows, "split": np.where(numbers % 50, 0, 3)}
    own |= dict.fromkeys(("group", "family", "video", "origin"), numbers)
    for name, (dtype, shape) in COLUMNS.items():
        column = np.empty((rows, *shape), dtype)
        column[:] = own.get(name, fixed.get(name, 0))
        np.save(folder / INDEX / f"{name}.npy", column)
    for name, count, text in (("group", rows, "video-"), ("family", rows, "video-"), ("origin", rows, "real/person/")):
        _write_names(folder / INDEX, name, text, count)
    _write_names(folder / INDEX, "source", "source-", SOURCES)
    (folder / INDEX / "persons_names.bin").write_bytes(b"[]")
    np.save(folder / INDEX / "persons_ends.npy", np.array([2]))
    angle = np.linspace(0, 2 * np.pi, len(MESH_POINTS))
    face = 0.5 + 0.3 * np.stack([np.cos(angle), np.sin(3 * angle)], -1)
    for name, row in (("points", face.astype(np.float16)), ("neighbours", np.zeros(COUNT, np.int32))):
        array = np.lib.format.open_memmap(folder / INDEX / f"{name}.npy", "w+", row.dtype, (rows, *row.shape))
        array[:] = row
        array.flush()
    fingerprint = hashlib.sha256(str(rows).encode()).hexdigest()
    record = {
        "spec": StoreSpec().model_dump(mode="json"),
        "dataset": "synthetic",
        "fingerprint": fingerprint,
        "samples": rows,
        "rows": rows,
        "rejected": 0,
        "complete": True,
        "shards": [{"file": "000000.tar", "bytes": len(data)}],
        "landmarks": {"version": 1, "of": fingerprint},
    }
    (folder / RECORD).write_text(json.dumps(record))
    (folder / "rejected.csv").write_text("path,frame,reason\n")
    return folder


def _write_names(index: Path, name: str, text: str, count: int) -> None:
    """Write ``count`` names that begin alike and end with a number of eight digits."""
    digits = np.arange(count)[:, None] // 10 ** np.arange(7, -1, -1) % 10 + ord("0")
    letters = np.broadcast_to(np.frombuffer(text.encode(), np.uint8), (count, len(text)))
    np.hstack([letters, digits.astype(np.uint8)]).tofile(index / f"{name}_names.bin")
    np.save(index / f"{name}_ends.npy", (np.arange(count) + 1) * (len(text) + 8))


class Steps:
    """What a training run does with a store before its first step; each method is one step, in this order.

    Args:
        folder: Folder of the store.
        cache: Folder for what a run keeps.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.dataset = StoredCrops(folder)
        self.data: TrainingData

    def open(self) -> None:
        """Open the store."""
        self.store = CropStore(self.folder)
        self.dataset.store = self.store

    def check(self) -> None:
        """Look for both classes."""
        check_classes(self.dataset, (False, True))

    def split(self) -> None:
        """Split it, take a share of it, and make training and validation samples."""
        detector = cast("Detector", SimpleNamespace(preprocess=SPEC))
        self.data = labelled_training_data(detector, self.dataset, None, RECIPE, self.cache)

    def order(self) -> None:
        """Shuffle an epoch."""
        self.shuffled = cast("Any", self.data.training).order(0)

    def sample(self) -> None:
        """Read some samples in that order."""
        for item in self.shuffled[:SAMPLES].tolist():
            self.data.training[0, item]

    def pairs(self) -> None:
        """Split it for training on pairs instead, and draw some chunks of 32."""
        del self.data, self.shuffled
        detector = cast("Detector", SimpleNamespace(preprocess=SPEC, evidence_size=None))
        self.data = pairs_training_data(detector, self.dataset, PAIRS, self.cache, torch.device("cpu"))
        rng = np.random.default_rng(0)
        for _ in range(CHUNKS):
            cast("Any", self.data.training).planner.draw(rng, 32)


STEPS = ("open", "check", "split", "order", "sample", "pairs")


def measure(folder: Path, cache: Path, steps: tuple[str, ...] = STEPS) -> dict[str, tuple[float, int, int]]:
    """Return seconds, allocated bytes at the peak and allocated bytes afterwards of each step.

    Times are taken in a first pass, because watching the memory takes time.
    """
    seconds = _passed(Steps(folder, cache), steps, time.perf_counter)
    tracemalloc.start()
    try:
        tracked = Steps(folder, cache)
        start = tracemalloc.get_traced_memory()[0]
        found = {}
        for step in steps:
            tracemalloc.reset_peak()
            getattr(tracked, step)()
            now, peak = tracemalloc.get_traced_memory()
            found[step] = (seconds[step], peak - start, now - start)
    finally:
        tracemalloc.stop()
    return found


def _passed(steps: Steps, names: tuple[str, ...], clock: Callable[[], float]) -> dict[str, float]:
    found = {}
    for name in names:
        start = clock()
        getattr(steps, name)()
        found[name] = clock() - start
    return found


def main() -> None:
    """Make a store, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=STEPS, help="measure the steps up to this one")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    steps = STEPS[: STEPS.index(options.only) + 1] if options.only else STEPS
    with tempfile.TemporaryDirectory() as place:
        folder = write_store(Path(place) / "store", options.rows)
        found = measure(folder, Path(place) / "cache", steps)
    print(f"{options.rows:,} rows")
    print(f"{'step':10}{'seconds':>10}{'peak, bytes/row':>18}{'kept, bytes/row':>18}")
    for step, (seconds, peak, kept) in found.items():
        print(f"{step:10}{seconds:10.2f}{peak / options.rows:18.1f}{kept / options.rows:18.1f}")
    if options.json:
        options.json.write_text(json.dumps({"rows": options.rows, "steps": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
