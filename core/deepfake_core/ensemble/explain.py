"""Heat maps of an ensemble whose members take different cuts of a face: each member's map, brought to one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.explainers.base import Explainer
from deepfake_core.explainers.choose import suitable_method
from deepfake_core.explainers.sheets import NOTHING, HeatMap, Sheets, found_in
from deepfake_core.inputs.crop import crop_square

if TYPE_CHECKING:
    from deepfake_core.explainers.base import Target
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.handle.results import FaceResult, Result
    from deepfake_registry.manifest import ModelManifest, PreprocessSpec

Rectangle = tuple[float, float, float, float]
"""Left, top, width and height in pixels of the picture as shown."""


def combined_heat(
    members: Sequence[LoadedDetector],
    weights: Sequence[float],
    cuts: Sequence[int],
    result: Result,
    face: FaceResult,
    *,
    manifest: ModelManifest,
    method: str | None,
    target: Target,
) -> HeatMap:
    """Explain one face of a picture: the mean of the members' maps by their weights, in the frame of the first cut.

    Args:
        members: Members of the ensemble.
        weights: One for each member; they sum to 1.
        cuts: For each member, the index of the cut that it takes.
        result: Result of the picture.
        face: Face to explain, with its crops.
        manifest: Manifest of the ensemble.
        method: Name of an explainer; by default one that suits each member.
        target: Class that the map argues for.

    Raises:
        DeepfakeError: A member does not have what the explainer needs.
    """
    assert face.crop is not None
    crops = (face.crop, *face.other_crops)
    frame = _rectangle(result, face, manifest.preprocess)
    fake = face.p_fake >= manifest.calibration.threshold
    height, width = face.crop.shape[:2]
    total = np.zeros((height, width), np.float32)
    maps: list[HeatMap] = []
    floor = 0.0
    for member, weight, cut in zip(members, weights, cuts, strict=True):
        sheets = Sheets(member, method or suitable_method(member, target), target)
        maps.append(sheets.heat(crops[cut], 1.0 if fake else 0.0))
        own = _rectangle(result, face, member.manifest.preprocess)
        total += weight * _moved(maps[-1].values, own, frame, (width, height))
        floor += weight * maps[-1].floor
    methods = " + ".join(dict.fromkeys(heat.method for heat in maps))
    say = partial(Explainer.sentence, sheets.explainer)  # a sentence with a member's own score would mislead
    return replace(
        maps[-1],
        crop=face.crop,
        values=total,
        method=methods,
        shows=sheets.explainer.shows if total.max() > floor else NOTHING,
        sentence=found_in(total, floor, say, manifest, face.p_fake),
        meaning=f"{maps[-1].meaning} Here: the mean over {len(members)} detectors, by their weights.",
        floor=floor,
        band=(manifest.calibration.unsure_low, manifest.calibration.unsure_high),
    )


def _rectangle(result: Result, face: FaceResult, spec: PreprocessSpec) -> Rectangle:
    """The part of the picture that a cut shows."""
    if spec.crop.kind == "whole_image":
        return 0.0, 0.0, float(result.width or 1), float(result.height or 1)
    left, top, side = crop_square(face.box, spec.crop)
    return float(left), float(top), float(side), float(side)


def _moved(heat: NDArray[np.float32], own: Rectangle, frame: Rectangle, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resample a map ``float32 [h, w]`` of one rectangle to another one, ``size`` wide and high; 0 outside of it."""
    scale_x, scale_y = frame[2] / size[0] * heat.shape[1] / own[2], frame[3] / size[1] * heat.shape[0] / own[3]
    shift_x = (frame[0] - own[0]) * heat.shape[1] / own[2] + 0.5 * scale_x - 0.5
    shift_y = (frame[1] - own[1]) * heat.shape[0] / own[3] + 0.5 * scale_y - 0.5
    matrix = np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(heat, matrix, size, flags=flags), np.float32)
