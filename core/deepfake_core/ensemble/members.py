"""Rules for the members of an ensemble, and the manifest that they make together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_core.ensemble.file import hashes_of
from deepfake_core.ensemble.runtime import ARCHITECTURE, MEMBERS
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_registry.manifest import Calibration, ModelManifest, PreprocessSpec, TensorSpec, manifest_of

if TYPE_CHECKING:
    from deepfake_core.handle.predictor import Predictor

_WEAKEST_FIRST = ("untrained", "pretrained", "trained")


def check_members(members: Sequence[Predictor]) -> tuple[LoadedDetector, ...]:
    """Return the members, once each was found fit to be one.

    Raises:
        DeepfakeError: There are fewer than two; or one is there twice, is untrained, or is an ensemble itself.
    """
    if len(members) < 2:
        raise DeepfakeError(f"an ensemble needs two members at least, got {len(members)}; name another detector")
    checked: list[LoadedDetector] = []
    seen: dict[tuple[Any, ...], str] = {}
    for member in members:
        manifest = member.manifest
        if not isinstance(member, LoadedDetector):
            raise DeepfakeError(f"{manifest.name!r} is an ensemble itself; name its members instead")
        if manifest.weights == "untrained":
            raise DeepfakeError(f"{manifest.name!r} is untrained, so that its scores mean nothing; train it first")
        identity = (manifest.architecture, manifest.version, tuple(sorted(hashes_of(member).items())))
        if identity in seen:
            raise DeepfakeError(f"{manifest.name} {manifest.version} is there twice; name each model once")
        seen[identity] = manifest.name
        checked.append(member)
    return tuple(checked)


def normalised(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return weights that sum to 1; equal ones by default.

    Raises:
        DeepfakeError: Their number is another one, or a weight is negative or not finite, or all are zero.
    """
    shares = np.full(count, 1.0) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (count,):
        raise DeepfakeError(f"{len(shares)} weights for {count} members; give one for each")
    if not np.isfinite(shares).all() or shares.min() < 0 or shares.max() <= 0:
        raise DeepfakeError(f"weights must be finite, not negative and not all zero, got {shares.tolist()}")
    return tuple((shares / shares.sum()).tolist())


def distinct_cuts(members: Sequence[LoadedDetector]) -> tuple[tuple[PreprocessSpec, ...], tuple[int, ...]]:
    """Return the distinct cuts of a face that members take, and for each member the index of its cut.

    Raises:
        DeepfakeError: Members take clips, and not all take the same ones.
    """
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


def ensemble_manifest(
    members: Sequence[LoadedDetector],
    weights: tuple[float, ...],
    specs: Sequence[PreprocessSpec],
    name: str,
    calibration: Calibration,
    metrics: dict[str, Any],
) -> ModelManifest:
    """Describe an ensemble; ``preprocess`` is the first member's, and ``weights`` the weakest status of any member."""
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
        TensorSpec(name=f"images_{index}" if index else "images", dtype="uint8", shape=("N", *spec.input_shape))
        for index, spec in enumerate(specs)
    ]
    return manifest.model_copy(update={"inputs": tuple(inputs)})
