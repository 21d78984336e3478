"""Speed of training, by the steps that ``dfbench train`` takes: on samples that lie ready, on pairs, and from a store.

It also measures the memory of the GPU, the share of a step that each part takes, and the share of the machine's peak
that the arithmetic reaches.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path

import torch

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.training.agreement import CHUNKS, pairs_difference
from deepfake_bench.scenarios.training.measuring_store import stored_crops, whole_pictures, with_landmarks
from deepfake_bench.scenarios.training.shares import STEPS, shares
from deepfake_bench.scenarios.training.steps import SIDE, Steps, flops, peak_tflops
from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import single
from deepfake_core.handle.predictor import Predictor
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.data.training_data import TrainingData
from deepfake_core.training.gather import gather
from deepfake_core.training.loop.accelerator import fastest_convolutions, make_accelerator
from deepfake_core.training.loop.feed import Ready
from deepfake_core.training.loop.memory import memory_advice
from deepfake_core.training.loop.step import working_precision
from deepfake_core.training.pairs.device.feed import DevicePairs
from deepfake_core.training.recipes.resolve import resolve_recipe
from deepfake_registry.manifest import FaceCrop

ON_CPU = 8
"""Largest batch that the CPU is timed on beside a GPU: with the batch of the GPU it would take minutes."""
_AHEAD = 2  # batches that each loading process makes ahead of time


def measure(detector: Predictor, job: Job) -> Iterator[ScenarioResult]:
    """Train for a few seconds in each way; yield what is known after each of them.

    Args:
        detector: Detector that is trained, from random weights.
        job: Measurement; ``parts`` names some of :data:`PARTS`, of which ``ready`` is always measured.

    Raises:
        DeepfakeError: The recipe does not exist, or memory runs out in the first part.
    """
    if unknown := set(job.parts) - PARTS.keys():
        raise DeepfakeError(f"train_throughput has no part {', '.join(sorted(unknown))}; it has {', '.join(PARTS)}")
    with _Bench(single(detector).detector, job) as bench:
        for name, part in PARTS.items():
            if name == "ready" or name in (job.parts or PARTS):
                part(bench)
                yield bench.found


class _Bench:
    """Timing of one detector's training steps in several ways.

    Attributes:
        found: What was measured so far.
        on_gpu: Whether the steps run on a GPU.
    """

    def __init__(self, detector: Detector, job: Job) -> None:
        recipe = resolve_recipe(detector, job.recipe)
        self.own_batch = recipe.batch_size
        self.detector, self.seconds, self.count = detector, job.seconds, job.steps
        self.recipe = recipe.model_copy(
            update={"batch_size": job.batch_size or recipe.batch_size, "compile": recipe.compile is True}
        )
        self.accelerator = make_accelerator(job.device)
        self.device = self.accelerator.device
        self.on_gpu = self.device.type == "cuda"
        self.working = working_precision(recipe.precision, self.device)
        self.best, self.compiled = 0.0, self.recipe.compile is True
        self._data, self._cache = job.data, job.cache
        self._steps: tuple[TrainRecipe, Steps] | None = None
        self._gathered: dict[str, TrainingData] = {}
        self._rooms = ExitStack()
        of_recipe = "" if self.own_batch == self.recipe.batch_size else f" (the recipe has {self.own_batch})"
        self.found = ScenarioResult(
            {}, {}, {"recipe": job.recipe, "batch": f"{self.recipe.batch_size}{of_recipe}, in {self.working}"}
        )
        self.tell("pixels", " × ".join(map(str, detector.preprocess.input_shape)))
        if self.on_gpu:
            about = torch.cuda.get_device_properties(self.device)
            self.tell("gpu", f"{about.name}, {about.total_memory / 1e9:.0f} GB; CUDA {torch.version.cuda}")

    def __enter__(self) -> _Bench:
        self._rooms.enter_context(fastest_convolutions(self.device))
        return self

    def __exit__(self, *_: object) -> None:
        self._steps = None
        self._gathered.clear()
        self._rooms.close()

    def tell(self, what: str, text: str) -> None:
        """Add a condition of the measurement."""
        self.found.conditions[what] = text

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """Within the block, an error becomes a remark: what was measured before it counts, and the rest goes on."""
        try:
            with memory_advice():
                yield
        except DeepfakeError as error:
            self.tell(what, f"not measured: {error}")

    @cached_property
    def folder(self) -> Path:
        """Folder of the prepared faces."""
        if self._cache:
            return Path(self._cache)
        return Path(self._rooms.enter_context(tempfile.TemporaryDirectory(prefix="dfbench-")))

    @cached_property
    def crops(self) -> StoredCrops:
        """Store that is trained on."""
        crops, about = stored_crops(self._data, self.folder)
        self.tell("store", about)
        return crops

    def steps(self, recipe: TrainRecipe) -> Steps:
        """Return the steps of a recipe; they are kept until those of another one are asked for."""
        same = recipe.model_copy(update=_SAME_STEPS)
        if self._steps is None or self._steps[0] != same:
            self._steps = None
            gc.collect()  # the memory of a compiled network is part of a cycle
            if self.on_gpu:
                torch.cuda.empty_cache()
            self._steps = same, Steps(self.detector, recipe, self.accelerator)
        return self._steps[1]

    def move_to(self, device: str) -> None:
        """Take steps on another device from here on."""
        self._steps, self.accelerator = None, make_accelerator(device)

    def check_compiled(self) -> None:
        """Refuse a measurement of compiled steps whose network could not be compiled.

        Raises:
            DeepfakeError: It ran as it is.
        """
        if self._steps and (reason := getattr(self._steps[1].stepper.forward, "failed", "")):
            raise DeepfakeError(f"torch.compile failed: {reason}")

    def ready(self, name: str, **changes: object) -> float:
        """Measure images per second on samples that lie on the device, with some settings of the recipe changed."""
        steps = self.steps(self.recipe.model_copy(update=changes))
        rate, self.found.samples[name] = steps.timed(steps.ready(), self.seconds, steps=self.count)
        return rate

    def fed(self, name: str, recipe: TrainRecipe) -> float:
        """Measure images per second end to end, with the samples that a recipe makes of the store."""
        steps, data = self.steps(recipe), self.gathered(recipe)
        feed = data.feed(recipe, self.accelerator)
        ready = Ready(feed, self.accelerator, recipe.accumulate, data.augment(self.device))
        with closing(ready.from_step(0)) as samples:
            rate, self.found.samples[name] = steps.timed(
                samples, self.seconds, buffered=_buffered(recipe), steps=self.count
            )
        return rate

    def gathered(self, recipe: TrainRecipe) -> TrainingData:
        """Return the training data of a recipe, which are gathered once."""
        key = recipe.model_copy(update={"compile": False}).model_dump_json()
        if key not in self._gathered:
            self._gathered[key] = self._gather(recipe)
        return self._gathered[key]

    def _gather(self, recipe: TrainRecipe) -> TrainingData:
        data: Dataset
        if not isinstance(self.detector.preprocess.crop, FaceCrop):
            data, about = whole_pictures(self._data, self.folder)
            self.tell("store", about)
        else:
            data = with_landmarks(self.crops) if recipe.samples == "pairs" else self.crops
        return gather(self.detector, data, None, recipe, self.folder / "cache", self.device)

    def of_samples(self, samples: str) -> TrainRecipe:
        """Return the recipe with pairs or with pictures, made as fast as this machine can."""
        short = {"autoencoders": 2, "autoencoder_steps": 2, "reconstructed": 16, "validation": 4, "small_until": 0.0}
        return self.recipe.model_copy(
            update={
                "samples": samples,
                "augment_on": "device",
                "workers": -1 if self.on_gpu else self.recipe.workers,  # beside a CPU's own work, more only compete
                "batch_size": self.recipe.batch_size // 2 * 2,
                "pairs": self.recipe.pairs.model_copy(update=short),
                "compile": self.compiled,
            }
        )

    @contextmanager
    def memory(self, of: str = "") -> Iterator[None]:
        """Within the block, measure the peak of the GPU's memory; ``of`` ends the names of the metrics."""
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        yield
        if self.on_gpu:
            self.found.metrics[f"gpu_memory_gb{of}"] = torch.cuda.max_memory_reserved() / 1e9
            self.found.metrics[f"gpu_allocated_gb{of}"] = torch.cuda.max_memory_allocated() / 1e9


_SAME_STEPS = {
    name: TrainRecipe.model_fields[name].get_default()
    for name in ("samples", "augment_on", "workers", "pairs", "augment")
}
"""Settings of a recipe that its samples depend on, but not its steps."""


def _ready(bench: _Bench) -> None:
    """Learning alone, on noise that lies ready on the device."""
    with memory_advice(), bench.memory():
        rate = bench.ready("step_s_on_device")
        bench.check_compiled()
    bench.best = bench.found.metrics["images_per_s_on_device"] = rate
    bench.tell("images_per_s_on_device", "learning alone, on noise that lies ready; a clip counts as one")
    if bench.recipe.compile:
        bench.tell("batch", bench.found.conditions["batch"] + ", compiled")
        bench.found.metrics["images_per_s_compiled"] = rate


def _compiled(bench: _Bench) -> None:
    """The same with ``torch.compile``; without it where the recipe has it."""
    if not bench.on_gpu:
        return
    other = "images_per_s_eager" if bench.recipe.compile else "images_per_s_compiled"
    bench.tell(other, "the same " + ("without" if bench.recipe.compile else "with") + " torch.compile")
    with bench.tried(other):
        rate = bench.ready("step_s_" + other.rpartition("_")[2], compile=not bench.recipe.compile)
        bench.check_compiled()
        bench.found.metrics[other] = rate
        if rate > bench.best:
            bench.best, bench.compiled = rate, not bench.recipe.compile


def _pairs(bench: _Bench) -> None:
    """Pairs that are made on the device while it learns."""
    _end_to_end(bench, "pairs", "pairs of faces that the device makes of the store's crops, and learning")


def _store(bench: _Bench) -> None:
    """Labelled pictures from a store of crops, augmented on the device."""
    _end_to_end(
        bench, "pictures", "crops of the store, read by {} loading processes, augmented on the device, and learning"
    )


def _end_to_end(bench: _Bench, samples: str, text: str) -> None:
    what = "pairs" if samples == "pairs" else "store"
    if bench.detector.preprocess.clip is not None:
        return
    with bench.tried(f"images_per_s_{what}"):
        recipe = bench.of_samples(samples)
        with bench.memory(f"_{what}"):
            rate = bench.fed(f"step_s_{what}", recipe)
        bench.found.metrics |= {f"images_per_s_{what}": rate, f"{what}_over_ready": rate / bench.best}
        said = text.format(_workers(recipe)) + (", compiled" if bench.compiled else "")
        bench.tell(f"images_per_s_{what}", said)
        bench.tell("over_ready", "share of the rate on samples that lie ready, compiled where that is faster")


def _shares(bench: _Bench) -> None:
    """The share of a step that each of its parts takes, one part after the other."""
    made = {"pairs": "making pairs", "pictures": "reading and copying crops", "clips": "nothing: noise that lies ready"}
    with bench.tried("shares"):
        if bench.recipe.samples == "clips":
            steps = bench.steps(bench.recipe)
            found = shares(steps, steps.ready(), None, count=bench.count or STEPS)
        else:
            recipe = bench.of_samples(bench.recipe.samples)
            data = bench.gathered(recipe)
            with closing(data.feed(recipe, bench.accelerator).from_step(0)) as feed:
                found = shares(
                    bench.steps(recipe),
                    feed,
                    data.augment(bench.device),
                    buffered=0 if bench.count else _buffered(recipe),
                    count=bench.count or STEPS,
                )
        bench.found.metrics |= found
        bench.tell("shares", f"of a step whose parts follow each other; data: {made[bench.recipe.samples]}")


def _agreement(bench: _Bench) -> None:
    """Pairs of the device beside those of the host."""
    if bench.recipe.samples == "clips" or not isinstance(bench.detector.preprocess.crop, FaceCrop):
        return
    with bench.tried("pairs_difference"):
        recipe = bench.of_samples("pairs")
        feed = bench.gathered(recipe).feed(recipe, bench.accelerator)
        assert isinstance(feed, DevicePairs)
        bench.found.metrics["pairs_difference"] = pairs_difference(feed, bench.count or CHUNKS)
        bench.tell("pairs_difference", "mean in grey levels between pairs of device and host of the same draws")


def _files(bench: _Bench) -> None:
    """The recipe as it is, from stored crops."""
    if bench.recipe.samples != "pictures":
        return
    with bench.tried("images_per_s"):
        bench.found.metrics["images_per_s"] = bench.fed("step_s", bench.recipe)
        bench.tell(
            "images_per_s",
            f"the recipe as it is, from the store: reading, augmenting on the {bench.recipe.augment_on}, copying and "
            f"learning; {bench.recipe.workers} loading processes; not for recipes that make pairs or take clips",
        )


def _mfu(bench: _Bench) -> None:
    """The arithmetic, beside the peak of the machine."""
    rate = bench.found.metrics["images_per_s_on_device"]
    bench.found.metrics["tflops"] = rate * flops(bench.detector) / 1e12
    bench.found.metrics["mfu"] = bench.found.metrics["tflops"] / peak_tflops(bench.device, bench.working)
    bench.tell(
        "mfu",
        f"share of {SIDE[bench.device.type]}-square matrix products in {bench.working}, measured here; floating-point "
        "operations of forward and backward as torch counts them, without what is recomputed",
    )


def _full(bench: _Bench) -> None:
    """Mixed precision beside full precision, whichever of them the recipe has."""
    if bench.on_gpu:
        with bench.tried("mixed_over_full"):
            mixed = bench.working != "fp32"
            other = bench.ready("step_s_fp32" if mixed else "step_s_mixed", precision="fp32" if mixed else "auto")
            own = bench.found.metrics["images_per_s_on_device"]
            bench.found.metrics["mixed_over_full"] = own / other if mixed else other / own


def _cpu(bench: _Bench) -> None:
    """The GPU beside the CPU of this machine. It comes last: a process has one accelerator at a time."""
    if bench.on_gpu:
        batch = min(ON_CPU, bench.recipe.batch_size)
        bench.move_to("cpu")
        with bench.tried("gpu_over_cpu"):
            rate = bench.ready("step_s_cpu", batch_size=batch, precision="fp32", compile=False)
            bench.found.metrics["gpu_over_cpu"] = bench.found.metrics["images_per_s_on_device"] / rate
            bench.tell("gpu_over_cpu", f"the CPU in float32, at a batch of {batch}, {allowed_threads()} threads")


PARTS: dict[str, Callable[[_Bench], None]] = {
    "ready": _ready,
    "compiled": _compiled,
    "pairs": _pairs,
    "store": _store,
    "shares": _shares,
    "agreement": _agreement,
    "files": _files,
    "mfu": _mfu,
    "full": _full,
    "cpu": _cpu,
}
"""Parts of the measurement by their names, the most telling first."""


def _buffered(recipe: TrainRecipe) -> int:
    """Return how many steps loading processes may have made ahead of time."""
    return _AHEAD * _workers(recipe)


def _workers(recipe: TrainRecipe) -> int:
    return allowed_threads() if recipe.workers < 0 else recipe.workers
