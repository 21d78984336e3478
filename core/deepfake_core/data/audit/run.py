"""From the name of a dataset to the result of its audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from deepfake_core.data.audit.audit import audit
from deepfake_core.data.audit.measure import ALL_NAMES, measured
from deepfake_core.data.audit.result import Shortcuts
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.discovery.plugins import import_object
from deepfake_core.errors import DeepfakeError, MissingExtra, WeightsUnavailable
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

MOST = 20_000
"""Faces that are measured by default: more of them make the intervals hardly narrower."""

SIDE, MARGIN = 224, 1.3
"""Side in pixels and margin of the crops where no detector is named."""


def audited(
    data: str | Path | Dataset,
    *,
    detector: str | LoadedDetector | None = None,
    side: int | None = None,
    margin: float | None = None,
    beside: Mapping[str, Sequence[str]] | None = None,
    max_images: int | None = None,
    files: str | Path | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> Shortcuts:
    """Cut, measure and compare; the arguments are those of :func:`deepfake_core.data.shortcuts`."""
    threadpool_limits = _limits()
    spec = _spec(detector, side, margin)
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    with threadpool_limits(1):  # faces are measured by several threads, whose matrix products wait for each other
        faces = measured(
            dataset,
            spec,
            max_images=MOST if max_images is None else max_images,
            files=None if files is None else Path(files),
            threads=threads,
        )
    found = audit(
        faces.table,
        ALL_NAMES,
        faces.fake,
        faces.group,
        faces.source,
        seed=seed,
        baseline=faces.baseline,
        beside=beside,
    )
    settings = {
        "faces": len(faces.fake),
        "side": max(spec.size),
        "margin": spec.crop.margin if isinstance(spec.crop, FaceCrop) else None,
        "seed": seed,
    }
    return replace(
        found,
        left_out=faces.left_out,
        unreadable=faces.unreadable,
        faceless=faces.faceless,
        settings=settings,
    )


def _limits() -> Any:
    """Return what limits the threads of BLAS and OpenMP; refuse at once where nothing could be compared in the end.

    Raises:
        MissingExtra: scikit-learn is absent, which brings it.
    """
    try:
        import sklearn  # noqa: F401 - imported before the faces are measured
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError as error:
        raise MissingExtra("the audit of shortcuts", "deepfake-core[data]") from error
    return threadpool_limits


def _spec(detector: str | LoadedDetector | None, side: int | None, margin: float | None) -> PreprocessSpec:
    """Return the preprocessing of a detector, or one with the given side and margin.

    Raises:
        DeepfakeError: A detector and a size are both given, a size is out of range, or the detector is an ensemble.
    """
    if detector is None:
        try:
            crop = FaceCrop(margin=MARGIN if margin is None else margin)
            resize = Resize(height=SIDE if side is None else side, width=SIDE if side is None else side)
        except ValidationError as error:
            (problem, *_) = error.errors()
            raise DeepfakeError(f"{problem['loc'][-1]}={problem['input']}: {problem['msg']}") from error
        return PreprocessSpec(crop=crop, resize=resize, normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))
    if side is not None or margin is not None:
        raise DeepfakeError(
            "a detector has a side and a margin of its own; give the detector alone, or side and margin"
        )
    if isinstance(detector, str):
        load = import_object("deepfake_core.loading.load:load")
        try:
            loaded = load(detector)
        except WeightsUnavailable:
            loaded = load(detector, untrained=True)  # how it cuts faces does not depend on its weights
        with loaded:
            return _spec(loaded, None, None)
    if not hasattr(detector, "manifest"):
        raise DeepfakeError("an ensemble cuts faces for each of its detectors; name one of them")
    preprocess: PreprocessSpec = detector.manifest.preprocess
    return preprocess
