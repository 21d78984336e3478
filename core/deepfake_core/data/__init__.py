"""Tools over any :class:`~deepfake_core.datasets.Dataset`: check, manifest, split, leaks, statistics, shortcuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepfake_core.data.audit.result import Shortcuts
    from deepfake_core.datasets import Dataset
    from deepfake_core.handle.loaded import LoadedDetector

__all__ = ["shortcuts"]


def shortcuts(
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
    """Say how well the classes of each source are told apart by what has nothing to do with forgery.

    Faces are cut as training would cut them. Each number is tried alone, all of them together by a gradient-boosted
    model, and frozen random features by a linear one; both are cross-validated by group.

    Args:
        data: Dataset, or its address or path. Of a store of crops, the stored faces are measured.
        detector: Detector that would be trained, or its name: its crops are audited.
        side: Side of the crops in pixels in place of a detector's; by default 224.
        margin: Crop margin in place of a detector's; by default 1.3.
        beside: Source with one class → sources that lend it the other class, such as
            ``{"diffusion": ("portraits",)}``; ``("*",)`` stands for all other sources.
        max_images: Most files, or rows of a store, that are measured, evenly spread; by default 20,000.
        files: Folder of the files that a store was made of; by default where they were when it was made.
        threads: Number of threads; by default as many as the process may use.
        seed: Seed of the divisions and of the models.

    Raises:
        MissingExtra: scikit-learn is not installed.
        TrainingDataError: The dataset cannot be opened, shows no faces, or has no source with enough samples of both
            classes; or ``beside`` names an unknown source.
    """
    from deepfake_core.data.audit.run import audited

    return audited(
        data,
        detector=detector,
        side=side,
        margin=margin,
        beside=beside,
        max_images=max_images,
        files=files,
        threads=threads,
        seed=seed,
    )
