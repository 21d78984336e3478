"""Overlays of validation samples: what the trained network saw, where it looked, and P(fake) (001-11, 001-21)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import MissingExtra
from deepfake_core.explainers import Target, default_method, picture_name
from deepfake_core.explainers.sheets import Sheets
from deepfake_core.handle.postprocess import FRAME_LOGIT

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

log = logging.getLogger("deepfake.training")


def write_overlays(
    loaded: LoadedDetector,
    crops: NDArray[np.uint8],
    labels: NDArray[np.floating] | Sequence[int],
    names: Sequence[str],
    out_dir: str | Path,
    explainer: str | None = None,
    target: Target = "predicted",
) -> list[Path]:
    """Write one PNG for each crop, ``0001-<name>.png`` and so on: the crop, the heat map over it, and P(fake).

    A clip becomes a film strip of its frames.

    Args:
        loaded: The trained detector.
        crops: ``uint8 [N, H, W, 3]`` RGB, or clips ``[N, T, H, W, 3]``, as the network sees them.
        labels: ``[N]``, 1 = fake.
        names: ``[N]``: what each crop was made from.
        out_dir: Made when it does not exist.
        explainer: Name of an installed explainer. By default the network's own evidence where it has one, and
            GradCAM otherwise; a detector that offers neither gets no overlays, and a warning says so.
        target: The class that the heat map argues for: the one that was predicted, or always the same. Evidence
            shows what speaks for a fake, whatever was predicted.

    Returns:
        The files, in the order of the crops.

    Raises:
        DeepfakeError: There is no such explainer, or it cannot explain this detector.
        MissingExtra: What the named explainer needs is not installed.
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
