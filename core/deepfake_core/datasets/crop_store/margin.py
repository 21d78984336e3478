"""Whether the crops of a detector can be cut from the images of a store."""

from __future__ import annotations

from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_registry.manifest import FaceCrop, PreprocessSpec


def check_margin(store: CropStore, spec: PreprocessSpec) -> None:
    """Refuse a store from which the detector's crops cannot be cut.

    Raises:
        TrainingDataError: The store's crops are tighter than the detector's; or the store holds faces and the detector
            takes whole pictures, or the reverse.
    """
    if store.spec.crop == "face" and isinstance(spec.crop, FaceCrop) and spec.crop.margin > store.spec.margin:
        raise TrainingDataError(
            f"{store.folder}: its crops reach {store.spec.margin} times the face, but the detector wants "
            f"{spec.crop.margin}; prepare the dataset again with a larger margin, such as {spec.crop.margin * 1.3:.1f}"
        )
    if store.spec.crop == "face" and not isinstance(spec.crop, FaceCrop):
        raise TrainingDataError(
            f"{store.folder}: it holds cut faces, but the detector takes whole pictures; prepare the dataset again "
            "with crop='whole'"
        )
    if store.spec.crop == "whole" and isinstance(spec.crop, FaceCrop):
        raise TrainingDataError(
            f"{store.folder}: it holds whole pictures without boxes, but the detector takes faces; prepare the dataset "
            "again with crop='face'"
        )
