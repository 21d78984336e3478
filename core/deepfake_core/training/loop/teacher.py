"""A trained detector that teaches another one: its answers on the pictures of each batch, mixed into the targets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import Distil, TrainRecipe
from deepfake_core.ensemble.runtime import CERTAIN
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.handle.predictor import Predictor
from deepfake_core.loading.load import load
from deepfake_core.runtimes.torch import autocast
from deepfake_core.training.loop.step import working_precision
from deepfake_registry.manifest import Calibration, DataSource, PreprocessSpec

TIMED = 16
"""Pictures, at most, on which the time of a teacher is measured before training starts."""


def load_teacher(recipe: TrainRecipe, detector: Detector, device: torch.device) -> Teacher | None:
    """Load the teacher that a recipe names; ``None`` where it names none.

    Args:
        recipe: Recipe of the run.
        detector: Detector to train.
        device: Device of the run.

    Raises:
        WeightsUnavailable: The teacher has no weights here, or none for torch.
        DeepfakeError: The teacher is untrained, or takes other clips than the detector.
    """
    if recipe.distil is None:
        return None
    loaded = load(recipe.distil.teacher, backend="torch", device=device)
    return Teacher(loaded, recipe.distil, detector.preprocess, device, working_precision(recipe.precision, device))


class Teacher:
    """Mixes the answers of a trained detector, or an ensemble, into the targets of a batch.

    It judges the pictures of the batch as they are, resized to its own input on the device; pictures that are small for
    a part of the run are enlarged for it. A teacher of pictures gives a clip the mean logit of its frames.

    Args:
        loaded: Detector or ensemble that runs in torch.
        distil: Settings of the recipe.
        student: Preprocessing of the detector that is trained.
        device: Device of the run.
        precision: Precision of the forward pass: ``"fp32"``, ``"bf16"`` or ``"fp16"``.

    Attributes:
        name: Name and version of the teacher.
        warnings: What makes its answers less useful, in sentences.

    Raises:
        DeepfakeError: The teacher is untrained, or takes other clips than the student.
    """

    def __init__(
        self, loaded: Predictor, distil: Distil, student: PreprocessSpec, device: torch.device, precision: str
    ) -> None:
        manifest = loaded.manifest
        self.name = f"{manifest.name} {manifest.version}".strip()
        if manifest.weights == "untrained":
            raise DeepfakeError(f"distil.teacher={distil.teacher}: {self.name} is untrained and has nothing to teach")
        single = isinstance(loaded, LoadedDetector)
        members: list[LoadedDetector] = [loaded] if single else list(loaded.members)  # type: ignore[attr-defined,list-item]
        shares = [1.0] if single else manifest.config["weights"]
        self.outer = Calibration() if single else manifest.calibration
        self.members = [
            (_Member(one.network, one.manifest.preprocess, one.manifest.calibration, device), float(share))
            for one, share in zip(members, shares, strict=True)
            if share
        ]
        self.distil, self.student, self.device, self.precision = distil, student, device, precision
        for member, _ in self.members:
            if (clip := member.preprocess.clip) is not None and clip != student.clip:
                raise DeepfakeError(
                    f"distil.teacher={distil.teacher}: {self.name} takes other clips than the detector to train; "
                    "take a teacher of pictures, or one with the same number of frames"
                )
        self.warnings = [
            f"the teacher {self.name} sees the faces with the crop of the detector to train ({_said(student)}), and "
            f"was trained with another ({_said(member.preprocess)})"
            for member, _ in self.members
            if member.preprocess.crop != student.crop
        ]

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return calibrated logits float32 [N] for images uint8 [N, H, W, 3] RGB or clips uint8 [N, T, H, W, 3]."""
        with autocast(self.device, self.precision):
            answers = [share * member(images) for member, share in self.members]
        mean = torch.stack(answers).sum(0)
        return mean / self.outer.temperature + self.outer.bias

    def targets(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the targets float32 [N] of a batch on the device: its labels, mixed with the teacher's answers."""
        soft = torch.sigmoid(self.logits(batch["images"]) / self.distil.temperature)
        return torch.lerp(batch["fake"], soft, self.distil.weight)

    def cost(self, batch_size: int) -> str:
        """Measure the time that the teacher takes for a picture or clip, and say it in a sentence."""
        resize, clip = self.student.resize, self.student.clip
        shape = ((clip.length,) if clip else ()) + (resize.height, resize.width, 3)
        count = max(1, min(batch_size, TIMED) // (clip.length if clip else 1))
        images = torch.zeros((count, *shape), dtype=torch.uint8, device=self.device)
        for _ in range(2):  # the first time, kernels are chosen and memory is taken
            begun = time.perf_counter()
            self.logits(images).sum().item()
        spent_ms = 1000 * (time.perf_counter() - begun) / count
        kind = "clip" if clip else "picture"
        return (
            f"{self.name} teaches with weight {self.distil.weight:g}; it takes {spent_ms:.3g} ms for each {kind}, in "
            f"batches of {count}, which every step needs besides"
        )

    def provenance(self) -> DataSource:
        """Return the teacher as a source of the trained model."""
        return DataSource(name=self.name, role="teacher", count=0, terms="those of its own sources; see its card")


class _Member:
    """One network of a teacher, which gives calibrated logits float32 [N] for the images or clips of a batch."""

    def __init__(
        self, network: nn.Module, preprocess: PreprocessSpec, calibration: Calibration, device: torch.device
    ) -> None:
        self.preprocess, self.calibration = preprocess, calibration
        model = WithPreprocess(network, preprocess).to(device)
        self.model = model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.model.requires_grad_(False)

    def __call__(self, images: Tensor) -> Tensor:
        clips, frames = images.shape[:-3], images.flatten(0, -4)
        frames = _resized(frames, (self.preprocess.resize.height, self.preprocess.resize.width))
        if self.preprocess.clip is not None:
            frames = frames.reshape(*clips, *frames.shape[1:])
        output: Any = self.model(frames)
        logit = (output[0] if isinstance(output, tuple) else output).float()
        logit = bounded(logit / self.calibration.temperature + self.calibration.bias)
        return logit.view(clips).mean(1) if self.preprocess.clip is None and len(clips) > 1 else logit


def bounded(logit: Tensor) -> Tensor:
    """Return calibrated logits of which what goes beyond ±6 counts by its logarithm, as in an ensemble."""
    size = logit.abs()
    return torch.copysign(size.clamp_max(CERTAIN) + (size - CERTAIN).clamp_min(0).log1p(), logit)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images uint8 [N, H, W, 3] with filtering; the values [0, 255] become float32 where the size changes."""
    if images.shape[1:3] == size:
        return images
    planes = images.permute(0, 3, 1, 2).float()
    return F.interpolate(planes, size=size, mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def _said(preprocess: PreprocessSpec) -> str:
    margin = getattr(preprocess.crop, "margin", None)
    return "whole pictures" if margin is None else f"margin {margin:g}"
