"""Several detectors as one: a weighted mean of their logits, judged, calibrated and measured like a single detector.

The logit of each member is first brought to its own calibrated scale, ``z = logit / temperature + bias``, where what
goes beyond ±6 counts by its logarithm; the logit of the ensemble is ``Σ wᵢ zᵢ`` with weights that are not negative and
sum to 1. Without :meth:`Ensemble.fit` they are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from deepfake_core.discovery.artifacts import ENSEMBLE_FILE
from deepfake_core.ensemble.file import Member, Stored, read_stored
from deepfake_core.ensemble.members import check_members, distinct_cuts, ensemble_manifest, normalised
from deepfake_core.ensemble.runtime import ARCHITECTURE, MEMBERS, EnsembleRuntime
from deepfake_core.handle.predictor import OutputOptions, Predictor
from deepfake_core.runtimes.base import Outputs, sigmoid
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import Calibration

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset
    from deepfake_core.discovery.training_groups import TrainingGroups
    from deepfake_core.explainers.base import Target
    from deepfake_core.explainers.sheets import HeatMap
    from deepfake_core.handle.results import FaceResult, Result
    from deepfake_core.inputs.prepare import Prepared


class Ensemble(Predictor):
    """Detectors that judge together, by the same verbs as a single one.

    Members may differ in everything, also in runtime and preprocessing: an input is decoded and its faces are found
    once, and cut as each member takes them. A member that takes whole pictures has one score for all faces of a
    picture; without a face there is no score, unless all members take whole pictures. Clips need one preprocessing for
    all members, as an ensemble over training seeds has. The status of the weights is the weakest of any member, and
    every result says how far the members lie apart (:attr:`FaceResult.spread`).

    It has no network of its own: what needs one, such as training and export, is a matter of its :attr:`members`.

    Args:
        members: Two or more loaded detectors with weights.
        weights: One for each member, not negative; scaled to sum to 1. By default equal.
        name: Name in results and reports.
        calibration: Calibration of the combined logit; by default the identity, since the members are calibrated.
        metrics: Measurements of the fit.

    Attributes:
        members: The loaded detectors.

    Raises:
        DeepfakeError: There are fewer than two members; a model is there twice, has no weights or is an ensemble;
            clips are mixed with pictures; or the weights do not fit.
    """

    def __init__(
        self,
        members: Sequence[Predictor],
        weights: Sequence[float] | None = None,
        *,
        name: str = ARCHITECTURE,
        calibration: Calibration | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self.members = check_members(members)
        shares = normalised(weights, len(members))
        specs, self._cut_of = distinct_cuts(self.members)
        manifest = ensemble_manifest(self.members, shares, specs, name, calibration or Calibration(), metrics or {})
        super().__init__(EnsembleRuntime(self.members, self._cut_of, manifest), specs)
        self.artifacts = tuple(artifact for member in self.members for artifact in member.artifacts)

    @classmethod
    def read(cls, folder: str | Path, load_member: Callable[..., Predictor]) -> Self:
        """Read what :meth:`save` wrote; :func:`deepfake_core.load` calls it for the folder of an ensemble.

        Args:
            folder: Folder with ``ensemble.json``.
            load_member: Function that loads a member, given the arguments that its record names.

        Raises:
            ArtifactCorrupt: ``ensemble.json`` is missing or cannot be read.
            DeepfakeError: A member is not there, or is no longer the model that the ensemble was made of.
        """
        folder = Path(folder)
        stored = read_stored(folder)
        members = []
        for record in stored.members:
            member = load_member(**record.found_from(folder))
            record.check(member, folder)
            members.append(member)
        return cls(members, stored.weights, name=stored.name, calibration=stored.calibration, metrics=stored.metrics)

    @property
    def training_groups(self) -> TrainingGroups | None:
        from deepfake_core.discovery.training_groups import joined

        return joined(member.training_groups for member in self.members)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of the members; they sum to 1."""
        return tuple(self.manifest.config["weights"])

    @property
    def num_parameters(self) -> int:
        return sum(member.num_parameters for member in self.members)

    def close(self) -> None:
        super().close()
        for member in self.members:
            member.close()

    def fit(self, data: str | Path | Dataset, *, frames: int = 16, allow_seen: bool = False) -> Self:
        """Choose weights and calibration on labelled data that no member was trained on.

        :func:`deepfake_core.ensemble.fit.fit_weights` gives the weights; the combined logit is calibrated as that of a
        trained detector. The AUCs of the members, of equal and of fitted weights are kept in the manifest's
        ``metrics``.

        Args:
            data: Dataset, or how to open one: ``"NAME:PATH?option=value"``.
            frames: Number of frames to judge of each video.
            allow_seen: Whether members may have been trained on groups of the data, so far as their packages tell.

        Raises:
            TrainingDataError: A member was trained on groups of the data; the data is empty or has one class; or a
                member ranks reals above fakes, so that its labels or those of the data are swapped.
        """
        from deepfake_core.ensemble.fit import fitted

        weights, calibration, metrics = fitted(self, self.members, data, frames, allow_seen=allow_seen)
        manifest = ensemble_manifest(self.members, weights, self._cuts, self.manifest.name, calibration, metrics)
        self.runtime = EnsembleRuntime(self.members, self._cut_of, manifest)
        self.manifest = manifest
        return self

    def save(self, folder: str | Path) -> Path:
        """Write ``ensemble.json``, which names the members and their weights; their model files stay where they are.

        Raises:
            DeepfakeError: A member was made by hand and cannot be loaded again.
        """
        folder = Path(folder)
        stored = Stored(
            name=self.manifest.name,
            members=tuple(Member.of(member, folder) for member in self.members),
            weights=self.weights,
            calibration=self.manifest.calibration,
            metrics=self.manifest.metrics,
        )
        write_atomic(folder / ENSEMBLE_FILE, stored.model_dump_json(indent=2) + "\n")
        return folder

    def _run(self, cuts: Sequence[NDArray[np.uint8]]) -> Outputs:
        assert isinstance(self.runtime, EnsembleRuntime)
        return self.runtime.run_cuts(cuts)

    def _judge(self, group: Sequence[Prepared], batch_size: int, options: OutputOptions) -> Iterator[Result]:
        """Judge as a single detector does, and add to each face how far the members lie apart."""
        for result in super()._judge(group, batch_size, options._replace(evidence=True)):
            faces = (
                dataclasses.replace(
                    face,
                    spread=float(np.ptp(sigmoid(face.extra[MEMBERS]))),
                    extra=face.extra if options.evidence else {},
                )
                for face in result.faces
            )
            yield dataclasses.replace(result, faces=tuple(faces))

    def _heat(self, result: Result, face: FaceResult, method: str | None, target: Target) -> HeatMap:
        """Explain the combined score where all members take one cut; else take the weighted mean of their maps."""
        if len(self._cuts) == 1:
            return super()._heat(result, face, method, target)
        from deepfake_core.ensemble.explain import combined_heat

        return combined_heat(
            self.members,
            self.weights,
            self._cut_of,
            result,
            face,
            manifest=self.manifest,
            method=method,
            target=target,
        )
