"""Speed of training, by the steps that ``dfbench train`` takes: from files, and on samples that are on the device.

It also measures the share of the machine's peak that the arithmetic reaches, and the memory of the GPU.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets.layouts.sample import SampleFaces
from deepfake_core.handle.loaded import single
from deepfake_core.handle.predictor import Predictor
from deepfake_core.training.data.batches import Part
from deepfake_core.training.gather import gather
from deepfake_core.training.loop.accelerator import make_accelerator
from deepfake_core.training.loop.feed import Ready
from deepfake_core.training.loop.memory import memory_advice
from deepfake_core.training.loop.step import Stepper, working_precision
from deepfake_core.training.recipes.resolve import resolve_recipe
from deepfake_core.training.recipes.stages import plan

WARM_UP = 3
"""Steps before the clock starts."""
FEWEST = 4
"""Fewest steps that are timed."""
ON_CPU = 8
"""Largest batch that the CPU is timed on beside a GPU: with the batch of the GPU it would take minutes."""
SIDE = {"cuda": 8192, "cpu": 2048}
"""Side of the square matrices whose product shows the peak rate of a device."""
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Train the last phase of the recipe, which usually trains the whole network, for a few seconds in each way.

    Raises:
        DeepfakeError: The recipe does not exist, or memory runs out.
    """
    made = single(detector).detector
    recipe = resolve_recipe(made, job.recipe)
    device = make_accelerator(job.device).device
    bench = _Bench(made, recipe, job.device, job.seconds)
    working = working_precision(recipe.precision, device)
    on_gpu = device.type == "cuda"
    with memory_advice():
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        rate = bench.ready()
        metrics = {"images_per_s_on_device": rate}
        if on_gpu:
            metrics["gpu_memory_gb"] = torch.cuda.max_memory_reserved() / 1e9
        metrics["tflops"] = rate * bench.flops() / 1e12
        metrics["mfu"] = metrics["tflops"] / peak_tflops(device, working)
        if recipe.samples == "pictures":
            metrics["images_per_s"] = bench.from_files()
        if on_gpu:
            metrics["images_per_s_compiled"] = bench.ready(compile=not recipe.compile)
            metrics["gpu_over_cpu"] = rate / bench.ready(device="cpu", batch_size=min(ON_CPU, recipe.batch_size))
            if working != "fp32":
                metrics["mixed_over_full"] = rate / bench.ready(precision="fp32")
    return ScenarioResult(
        metrics=metrics,
        samples=bench.samples,
        conditions={
            "recipe": job.recipe,
            "batch": f"{recipe.batch_size}, in {working}" + (", compiled" if recipe.compile else ""),
            "images_per_s": "from stored crops of the sample faces: reading, augmenting, copying and learning; "
            f"{recipe.workers} loading processes; not for recipes that make pairs or take clips",
            "images_per_s_on_device": "learning alone, on noise that lies ready; a clip counts as one",
            "images_per_s_compiled": "the same " + ("without" if recipe.compile else "with") + " torch.compile",
            "gpu_over_cpu": f"the CPU in float32, at a batch of {min(ON_CPU, recipe.batch_size)}",
            "mfu": f"share of {SIDE[device.type]}-square matrix products in {working}, measured here; floating-point "
            "operations of forward and backward as torch counts them, without what is recomputed",
        },
    )


class _Bench:
    """Timing of one detector's training steps in several ways.

    Attributes:
        samples: Times of the steps in s, by the way in which they were taken.
    """

    def __init__(self, detector: Detector, recipe: TrainRecipe, device: str, seconds: float) -> None:
        self.detector, self.recipe, self.device, self.seconds = detector, recipe, device, seconds
        self.samples: dict[str, list[float]] = {}

    def ready(self, device: str | None = None, **changes: object) -> float:
        """Measure images per second on samples that are on the device, with some settings of the recipe changed."""
        recipe = self.recipe.model_copy(update=changes)
        shape = (recipe.batch_size, 1, *self.detector.preprocess.input_shape)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        fake = torch.arange(recipe.batch_size).remainder(2).float()[:, None]
        where = make_accelerator(device or self.device).device
        tensors = {"images": torch.from_numpy(noise), "fake": fake, "weight": torch.ones_like(fake)}
        if (evidence := self.detector.evidence_size) is not None:
            tensors["mask"] = torch.zeros(recipe.batch_size, 1, *evidence)
        part = Part([], {name: value.to(where) for name, value in tensors.items()})
        name = "step_s_on_device" + "".join(
            f"_{key}_{value}" for key, value in {"device": device, **changes}.items() if value
        )
        return self._rate(name, recipe, device or self.device, repeat([part] * recipe.accumulate))

    def from_files(self) -> float:
        """Measure images per second from prepared crops on disk."""
        with tempfile.TemporaryDirectory() as folder:
            accelerator = make_accelerator(self.device)
            dataset = SampleFaces(Path(folder, "faces"))
            training_data = gather(self.detector, dataset, None, self.recipe, Path(folder, "cache"), accelerator.device)
            ready = Ready(
                training_data.feed(self.recipe, accelerator),
                accelerator,
                self.recipe.accumulate,
                training_data.augment(accelerator.device),
            )
            with closing(ready.from_step(0)) as feed:
                return self._rate("step_s", self.recipe, self.device, feed)

    def _rate(self, name: str, recipe: TrainRecipe, device: str, feed: Iterable[list[Part]]) -> float:
        accelerator = make_accelerator(device)
        network = self.detector.build()
        model = WithPreprocess(network, self.detector.preprocess).to(accelerator.device).train()
        if recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        scaler = torch.amp.GradScaler(
            accelerator.device.type, enabled=working_precision(recipe.precision, accelerator.device) == "fp16"
        )
        groups = self.detector.param_groups(network)
        step = Stepper(self.detector, model, groups, plan(recipe, 1)[-1], recipe, scaler, accelerator)
        wait: Callable[[], object] = torch.cuda.synchronize if accelerator.device.type == "cuda" else lambda: None
        times = list(_timed(step, iter(feed), wait, self.seconds))
        self.samples[name] = times
        return recipe.batch_size * recipe.accumulate / float(np.median(times))

    def flops(self) -> float:
        """Return the floating-point operations of one image, forward and backward."""
        model = WithPreprocess(self.detector.build(), self.detector.preprocess).train()
        images = torch.zeros(2, *self.detector.preprocess.input_shape, dtype=torch.uint8)
        counter = FlopCounterMode(display=False)
        with counter:
            output = model(images)
            logit: Tensor = output[0] if isinstance(output, tuple) else output
            logit.sum().backward()  # type: ignore[no-untyped-call]
        return counter.get_total_flops() / 2


def _timed(step: Stepper, feed: Iterator[list[Part]], wait: Callable[[], object], seconds: float) -> Iterator[float]:
    """Yield the time of each step in s, reading included, after a few that are not timed."""
    begun = last = 0.0
    number = 0
    while number < WARM_UP + FEWEST or last - begun < seconds:
        step(next(feed))
        wait()
        now = time.perf_counter()
        if number >= WARM_UP:
            yield now - last
        else:
            begun = now
        last, number = now, number + 1


def peak_tflops(device: torch.device, precision: str) -> float:
    """Measure the fastest product of two square matrices, in 10¹² floating-point operations per second."""
    side = SIDE[device.type]
    factors = torch.ones(2, side, side, device=device, dtype=_TYPES[precision])
    fastest = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        product = factors[0] @ factors[1]
        float(product[0, 0])  # waits until the device is done
        fastest = min(fastest, time.perf_counter() - begun)
    return 2 * side**3 / fastest / 1e12
