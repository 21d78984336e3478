"""Several detectors as one: a weighted mean of their logits, judged, calibrated and measured like any other's.

Each member's logit is first brought to its own calibrated scale, ``z = logit / temperature + bias``; the ensemble's
logit is ``Σ wᵢ zᵢ`` with weights that are not negative and sum to 1. Without :meth:`Ensemble.fit` they are equal.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from deepfake_core.discovery.artifacts import ENSEMBLE_FILE
from deepfake_core.ensemble.file import Member, Stored, hashes_of, read_stored
from deepfake_core.errors import DeepfakeError, InputError
from deepfake_core.handle.loaded import Keep, LoadedDetector
from deepfake_core.handle.postprocess import probabilities
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.runtimes.base import Outputs, Runtime
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import Calibration, ModelManifest, PreprocessSpec, TensorSpec, manifest_of

if TYPE_CHECKING:
    from deepfake_core.contract.detector import Detector
    from deepfake_core.datasets import Dataset
    from deepfake_core.handle.results import Result
    from deepfake_core.inputs.prepare import Prepared

ARCHITECTURE = "ensemble"
MEMBERS = "members"
"""Name of the further output: the members' calibrated logits, ``float32 [N, members]``."""

_WEAKEST_FIRST = ("untrained", "pretrained", "trained")


class Together(Runtime):
    """Runs every member on its own cut of the same faces.

    Args:
        members: Loaded detectors.
        cuts: For each member, which of the cuts it takes.
        manifest: The ensemble's.
    """

    name: ClassVar[str] = ARCHITECTURE

    def __init__(self, members: Sequence[LoadedDetector], cuts: Sequence[int], manifest: ModelManifest) -> None:
        self.members = tuple(members)
        self.cuts = tuple(cuts)
        self.manifest = manifest
        self.device = members[0].runtime.device
        self.weights: NDArray[np.float64] = np.asarray(manifest.config["weights"], np.float64)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Where all members take the same cut ``uint8 [N, …]``."""
        return self.run_cuts([images])

    def run_cuts(self, cuts: Sequence[NDArray[np.uint8]]) -> Outputs:
        """The same faces cut in each of the ways that the members want, ``uint8 [N, H, W, 3]`` each."""
        columns = []
        for member, place in zip(self.members, self.cuts, strict=True):
            calibration = member.manifest.calibration
            logit = member.runtime.run(cuts[place]).logit.astype(np.float64)
            columns.append(logit / calibration.temperature + calibration.bias)
        calibrated = np.stack(columns, axis=1)
        return Outputs((calibrated @ self.weights).astype(np.float32), extra={MEMBERS: calibrated.astype(np.float32)})


class Ensemble(LoadedDetector):
    """Detectors that judge together; used like any loaded detector.

    Members may differ in everything, their runtime and preprocessing too: an input is decoded and its faces are
    found once, and cut as each member wants. A member that takes whole pictures has one score for all faces of a
    picture; without a face there is no score unless all members take whole pictures. Clips need one preprocessing
    of all members, as an ensemble over training seeds has (003-18). The manifest's weights status is the weakest of
    its members', and every result says how far the members lie apart (:attr:`FaceResult.spread`).

    Args:
        members: Two or more loaded detectors with weights.
        weights: One for each member, not negative; scaled to sum to 1. By default equal.
        name: What results and reports call it.
        calibration: Of the combined logit; by default the identity, as the members are calibrated themselves.
        metrics: What was measured when it was fitted.

    Raises:
        DeepfakeError: Fewer than two members, a model that is there twice, one without weights or an ensemble, clips
            beside pictures, or weights that do not fit.
    """

    def __init__(
        self,
        members: Sequence[LoadedDetector],
        weights: Sequence[float] | None = None,
        *,
        name: str = ARCHITECTURE,
        calibration: Calibration | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        _check_members(members)
        shares = _normalised(weights, len(members))
        self.members = tuple(members)
        self._specs, self._cuts = _distinct_cuts(members)
        runtime = self._together(name, shares, calibration or Calibration(), metrics or {})
        files = [artifact for member in members for artifact in member.artifacts]
        super().__init__(None, runtime, artifacts=files)

    def _together(
        self, name: str, weights: tuple[float, ...], calibration: Calibration, metrics: dict[str, Any]
    ) -> Together:
        manifest = _manifest(self.members, weights, self._specs, name, calibration, metrics)
        return Together(self.members, self._cuts, manifest)

    @property
    def weights(self) -> tuple[float, ...]:
        """One for each member; they sum to 1."""
        return tuple(self.manifest.config["weights"])

    @property
    def parameters(self) -> int:
        return sum(member.parameters for member in self.members)

    def score(self, images: NDArray[np.uint8], *others: NDArray[np.uint8], batch_size: int | None = None) -> Outputs:
        """Run every member on prepared crops ``uint8 [N, H, W, 3]``, or clips ``uint8 [N, T, H, W, 3]``.

        Args:
            images: The faces as the first member wants them.
            *others: The same faces cut in the further ways that members want; see :meth:`prepare`.
            batch_size: Most of them that the members get at a time; by default all.

        Raises:
            InputError: An array is missing, or has another type or shape.
        """
        cuts = (images, *others)
        if len(cuts) != len(self._specs):
            raise InputError(
                "<array>",
                f"{len(cuts)} cuts of the faces, and the members of this ensemble want {len(self._specs)}; take them "
                "from prepare(), or look at a member alone",
            )
        for cut, spec in zip(cuts, self._specs, strict=True):
            if cut.dtype != np.uint8 or cut.shape[1:] != spec.input_shape or len(cut) != len(images) or not len(cut):
                wanted = ", ".join(map(str, spec.input_shape))
                raise InputError("<array>", f"is {cut.dtype} {list(cut.shape)}, expected uint8 [N, {wanted}], N ≥ 1")
        step = batch_size or len(images)
        runtime = self.runtime
        assert isinstance(runtime, Together)
        starts = range(0, len(images), step)
        return Outputs.joined([runtime.run_cuts([cut[start : start + step] for cut in cuts]) for start in starts])

    def _preparer(self, frames: int, clips: int) -> Preparer:
        first, *others = self._specs
        made = Preparer(first, others=others, frames=frames, clips=clips)
        return self._preparers.setdefault((frames, clips), made)

    def _judge(self, group: Sequence[Prepared], batch_size: int, keep: Keep) -> Iterator[Result]:
        """As for any detector; each face is also told how far its members lie apart."""
        for result in super()._judge(group, batch_size, keep._replace(evidence=True)):
            faces = (
                dataclasses.replace(
                    face,
                    spread=float(np.ptp(probabilities(face.extra[MEMBERS]))),
                    extra=face.extra if keep.evidence else {},
                )
                for face in result.faces
            )
            yield dataclasses.replace(result, faces=tuple(faces))

    def fit(self, data: str | Path | Dataset, *, frames: int = 16) -> Self:
        """Choose weights and calibration on labelled data that no member was trained on.

        See :func:`deepfake_core.ensemble.fit.fit_weights` for the weights; the calibration of the combined logit is
        fitted as that of a trained detector. AUCs of the members, of equal and of fitted weights are kept in the
        manifest's ``metrics``.

        Args:
            data: A dataset, or how to open one: ``"NAME:PATH?option=value"``.
            frames: Frames to judge of each video.

        Raises:
            TrainingDataError: The data is empty or has one class, or a member tells reals and fakes the wrong way
                round, so that its labels or the data's are swapped.
        """
        from deepfake_core.ensemble.fit import fitted

        weights, calibration, metrics = fitted(self, data, frames)
        self.runtime = self._together(self.manifest.name, weights, calibration, metrics)
        self.manifest = self.runtime.manifest
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

    @property
    def detector(self) -> Detector:
        """None of its own: an ensemble is trained, exported and explained member by member.

        Raises:
            DeepfakeError: Always.
        """
        self._no_network()

    @property
    def network(self) -> NoReturn:
        """None of its own, likewise.

        Raises:
            DeepfakeError: Always.
        """
        self._no_network()

    def _no_network(self) -> NoReturn:
        names = ", ".join(member.manifest.name for member in self.members)
        raise DeepfakeError(f"an ensemble has no network of its own; train, export or explain its members: {names}")


def load_ensemble(
    folder: str | Path,
    *,
    backend: Literal["auto", "onnxruntime", "openvino", "torch"] = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Ensemble:
    """Load what :meth:`Ensemble.save` wrote; :func:`deepfake_core.load` calls it.

    Raises:
        ArtifactCorrupt: ``ensemble.json`` is missing or cannot be read.
        DeepfakeError: A member is not there, or is no longer the model that the ensemble was made of.
    """
    from deepfake_core.loading.load import load

    folder = Path(folder)
    stored = read_stored(folder)
    members = []
    for record in stored.members:
        member = load(**record.found_from(folder), backend=backend, device=device, threads=threads)  # type: ignore[arg-type]
        record.check(member, folder)
        members.append(member)
    return Ensemble(members, stored.weights, name=stored.name, calibration=stored.calibration, metrics=stored.metrics)


def _check_members(members: Sequence[LoadedDetector]) -> None:
    if len(members) < 2:
        raise DeepfakeError(f"an ensemble needs two members at least, got {len(members)}; name another detector")
    seen: dict[tuple[Any, ...], str] = {}
    for member in members:
        manifest = member.manifest
        if isinstance(member, Ensemble):
            raise DeepfakeError(f"{manifest.name!r} is an ensemble itself; name its members instead")
        if manifest.weights == "untrained":
            raise DeepfakeError(f"{manifest.name!r} is untrained, so that its scores mean nothing; train it first")
        identity = (manifest.architecture, manifest.version, tuple(sorted(hashes_of(member).items())))
        if identity in seen:
            raise DeepfakeError(f"{manifest.name} {manifest.version} is there twice; name each model once")
        seen[identity] = manifest.name


def _normalised(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    shares = np.full(count, 1.0) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (count,):
        raise DeepfakeError(f"{len(shares)} weights for {count} members; give one for each")
    if not np.isfinite(shares).all() or shares.min() < 0 or shares.max() <= 0:
        raise DeepfakeError(f"weights must be finite, not negative and not all zero, got {shares.tolist()}")
    return tuple((shares / shares.sum()).tolist())


def _distinct_cuts(members: Sequence[LoadedDetector]) -> tuple[tuple[PreprocessSpec, ...], tuple[int, ...]]:
    """The ways in which members want their faces cut, each once, and which of them each member takes."""
    specs: list[PreprocessSpec] = []
    halves: list[tuple[Any, ...]] = []
    cuts = []
    for member in members:
        spec = member.manifest.preprocess
        half = (spec.clip, spec.crop, spec.resize)  # normalisation lies in the graph
        if half not in halves:
            halves.append(half)
            specs.append(spec)
        cuts.append(halves.index(half))
    if len(specs) > 1 and any(spec.clip for spec in specs):
        raise DeepfakeError(
            "members that take clips need the same clips, crop and size as all others: "
            + "; ".join(f"{member.manifest.name} takes {_described(member.manifest.preprocess)}" for member in members)
        )
    return tuple(specs), tuple(cuts)


def _described(spec: PreprocessSpec) -> str:
    height, width = spec.size
    frames = f"clips of {spec.clip.length} frames, {spec.clip.stride} apart, " if spec.clip else "pictures, "
    return f"{frames}{spec.crop.kind} at {width}×{height}"


def _manifest(
    members: Sequence[LoadedDetector],
    weights: tuple[float, ...],
    specs: Sequence[PreprocessSpec],
    name: str,
    calibration: Calibration,
    metrics: dict[str, Any],
) -> ModelManifest:
    """What the ensemble is; ``preprocess`` is the first member's."""
    parts = [{"name": member.manifest.name, "version": member.manifest.version} for member in members]
    content = [[part, sorted(hashes_of(member).items())] for part, member in zip(parts, members, strict=True)]
    digest = hashlib.sha256(json.dumps([content, weights, calibration.model_dump()]).encode())
    manifest = manifest_of(
        name=name,
        architecture=ARCHITECTURE,
        preprocess=specs[0],
        weights=min((member.manifest.weights for member in members), key=_WEAKEST_FIRST.index),
        version=digest.hexdigest()[:8],
        extra_outputs=[TensorSpec(name=MEMBERS, dtype="float32", shape=("N", len(members)))],
        summary=f"ensemble of {', '.join(part['name'] for part in parts)}",
        config={"members": parts, "weights": list(weights)},
        calibration=calibration,
        metrics=metrics,
    )
    inputs = [
        TensorSpec(name=f"images_{place}" if place else "images", dtype="uint8", shape=("N", *spec.input_shape))
        for place, spec in enumerate(specs)
    ]
    return manifest.model_copy(update={"inputs": tuple(inputs)})
