"""Overlays of validation samples: the crop, the heat map of an explainer over it, and P(fake)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import MissingExtra
from deepfake_core.explainers import Target, default_method
from deepfake_core.explainers.sheets import Sheets, picture_name
from deepfake_core.handle.postprocess import FRAME_LOGIT
from deepfake_core.progress import stage

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

log = logging.getLogger("deepfake.training")


@stage("drawing overlays")
def write_overlays(
    loaded: LoadedDetector,
    crops: NDArray[np.uint8],
    labels: NDArray[np.floating] | Sequence[int],
    names: Sequence[str],
    out_dir: str | Path,
    explainer: str | None = None,
    target: Target = "predicted",
) -> list[Path]:
    """Write one PNG file for each crop, ``0001-<name>.png`` and so on: the crop, the heat map over it, and P(fake).

    A clip becomes a film strip of its frames.

    Args:
        loaded: Trained detector.
        crops: ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]`` RGB, as the network receives them.
        labels: Labels ``[N]``: 1 = fake, 0 = real.
        names: Names of the N files that the crops were made from.
        out_dir: Folder for the files; it is made when it does not exist.
        explainer: Name of an installed explainer. By default the network's own evidence map where it has one, and
            GradCAM otherwise; a detector that offers neither gets no overlays, and a warning says so.
        target: Class that the heat map argues for: the predicted one, or always the same one. An evidence map always
            argues for a fake.

    Returns:
        The files, in the order of the crops.

    Raises:
        DeepfakeError: There is no such explainer, or it cannot explain this detector.
        MissingExtra: A package that the named explainer needs is not installed.
    """
    try:
        method = explainer or default_method(loaded, target)
        if method is None:
            log.warning(
                "%s has neither an evidence map nor layers for GradCAM: no overlays are drawn", loaded.manifest.name
            )
            return []
        sheets = Sheets(loaded, method, target)
        return [
            _write(sheets, crop, "fake" if label >= 0.5 else "real", name, Path(out_dir) / picture_name(number, name))
            for number, (crop, label, name) in enumerate(zip(crops, labels, names, strict=True), 1)
        ]
    except MissingExtra as error:
        if explainer is not None:
            raise
        log.warning("no overlays are drawn: %s", error)
        return []


def _write(sheets: Sheets, crop: NDArray[np.uint8], truth: str, name: str, file: Path) -> Path:
    outputs = sheets.detector.score(crop[None])
    p_fake = sheets.detector.manifest.calibration.p_fake
    return sheets.write(
        file,
        crop,
        p_fake=p_fake(float(outputs.logit[0])),
        p_frames=[p_fake(float(logit)) for logit in outputs.extra.get(FRAME_LOGIT, [()])[0]],
        title=f"is {truth}: {PurePath(name).name}",
    )
