"""A single detector that is ready to judge."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepfake_core.discovery.plugins import detector_spec, import_object
from deepfake_core.errors import DeepfakeError, WeightsUnavailable
from deepfake_core.handle.predictor import Predictor
from deepfake_core.runtimes.base import Outputs, Runtime
from deepfake_core.runtimes.torch_side import TORCH_EXTRA, import_torch, install_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import nn

    from deepfake_core.contract.detector import Detector
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.contract.repository import Repository
    from deepfake_core.contract.specs import DetectorSpec
    from deepfake_core.datasets import Dataset
    from deepfake_core.discovery.artifacts import Artifact, Package
    from deepfake_core.discovery.training_groups import TrainingGroups
    from deepfake_core.inputs.decode import PictureSource


class LoadedDetector(Predictor):
    """A detector with weights on a runtime, as :func:`deepfake_core.load` returns it.

    It judges and explains. :meth:`train`, :meth:`export` and :meth:`protect` only pass their arguments on to the
    functions of that work, which need extras that judging does not.

    Args:
        spec: Record of the plugin; ``None`` for a bare file whose architecture no installed plugin offers: it can run,
            but be neither trained nor exported.
        runtime: Runtime that executes the network.
        package: Package that the model came from; ``None`` for a bare file.
        artifacts: Model files that run, verified.
        origin: Arguments of :func:`deepfake_core.load` that give the same weights again.
        repository: Repository of the Hugging Face Hub that the weights came from.
        load_ms: Time spent on loading, in milliseconds, by stage.
    """

    def __init__(
        self,
        spec: DetectorSpec | None,
        runtime: Runtime,
        *,
        package: Package | None = None,
        artifacts: Sequence[Artifact] = (),
        origin: Mapping[str, str] | None = None,
        repository: Repository | None = None,
        load_ms: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(runtime, [runtime.manifest.preprocess])
        self.spec = spec
        self.artifacts = tuple(artifacts)
        self.origin = dict(origin or {})
        self.repository = repository
        self.load_ms = dict(load_ms or {})
        self.package = package

    @cached_property
    def training_groups(self) -> TrainingGroups | None:
        from deepfake_core.discovery.training_groups import TrainingGroups, read_groups

        if self.manifest.weights == "untrained":
            return TrainingGroups.of((), ())
        file = self.package.groups_file() if self.package is not None else None
        return read_groups(file) if file is not None else None

    def _run(self, cuts: Sequence[NDArray[np.uint8]]) -> Outputs:
        return self.runtime.run(cuts[0])

    # ── the network ──────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def detector(self) -> Detector:
        """The plugin's detector with the configuration of this model (imports torch).

        Raises:
            UnknownDetector: No installed plugin offers the architecture.
            MissingExtra: torch, or another module that the detector needs, is not installed.
        """
        spec = self.spec or detector_spec(self.manifest.architecture)
        detector: Detector = import_torch("make_detector", spec.install)(spec, self.manifest.config)
        return detector

    @property
    def num_parameters(self) -> int:
        network = import_torch("skeleton")(self.detector)
        return sum(parameter.numel() for parameter in network.parameters())

    @cached_property
    def network(self) -> nn.Module:
        """The torch network with the weights of this model (imports torch).

        Raises:
            WeightsUnavailable: Only an exported file is at hand, from which no network can be built.
        """
        network: nn.Module
        if self.runtime.name == "torch":
            network = self.runtime.network  # type: ignore[attr-defined]
        elif self.package is not None and (weights := self.package.artifact("safetensors", verify=False)) is not None:
            network = import_torch("load_network")(self.detector, weights)
        else:
            raise WeightsUnavailable(
                f"{self.manifest.name!r} is at hand as an exported file only; train it and load the run's "
                "model folder, which can be exported"
            )
        return network

    # ── delegates ────────────────────────────────────────────────────────────────────────────────────────────

    def train(
        self,
        data: str | Path | Dataset,
        recipe: str | Path | TrainRecipe = "default",
        run_dir: str | Path = "runs/latest",
        **options: Any,
    ) -> LoadedDetector:
        """Train this architecture, from the recipe's initial weights rather than from the loaded ones.

        ``start=detector`` goes on from the weights of a loaded detector instead. See
        :func:`deepfake_core.training.train.train_detector` for arguments and errors.
        """
        train = import_object("deepfake_core.training.train:train_detector", install=install_of(self.spec))
        trained: LoadedDetector = train(self, data, recipe, run_dir, **options)
        return trained

    def export(self, format: str = "onnx", precision: str = "fp32", *, out: str | Path, **options: Any) -> Path:
        """Write the network in another format, once the file was shown to agree with the network.

        See :func:`deepfake_core.export.export_detector` for arguments and errors.
        """
        export = import_object("deepfake_core.export:export_detector", install=TORCH_EXTRA)
        path: Path = export(self, format, precision, out=out, **options)
        return path

    def protect(
        self,
        source: PictureSource,
        *,
        epsilon: float = 0.03,
        save: str | os.PathLike[str] | None = None,
        reason: str = "",
        max_pixels: int | None = None,
    ) -> Image.Image:
        """Add a small perturbation to a picture, which disturbs programs that would manipulate its faces.

        See :func:`deepfake_core.protect.protectors.protect` for arguments and errors.
        """
        protect = import_object("deepfake_core.protect.protectors:protect")
        image: Image.Image = protect(self, source, epsilon, save=save, reason=reason, max_pixels=max_pixels)
        return image


def single(model: Predictor) -> LoadedDetector:
    """Return a loaded model that has a network of its own.

    Raises:
        DeepfakeError: The model is an ensemble.
    """
    if hasattr(model, "members"):
        members = ", ".join(part["name"] for part in model.manifest.config["members"])
        raise DeepfakeError(f"an ensemble has no network of its own; name one of its members: {members}")
    return cast("LoadedDetector", model)
