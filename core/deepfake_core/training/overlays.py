"""Overlays of validation samples: what the trained network saw, where it looked, and P(fake) (001-11, 001-21)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.explainers import Explainer, load_explainer, picture_name
from deepfake_core.explainers.overlay import panel
from deepfake_registry.files import atomic_path

if TYPE_CHECKING:
    from deepfake_core.loaded import LoadedDetector

log = logging.getLogger("deepfake.training")

CAPTIONS = {"fake": "where it looks manipulated", "real": "what speaks for a real face"}


def write_overlays(
    loaded: LoadedDetector,
    crops: NDArray[np.uint8],
    labels: NDArray[np.floating] | Sequence[int],
    names: Sequence[str],
    out_dir: str | Path,
    explainer: str | None = None,
    target: Literal["predicted", "fake", "real"] = "predicted",
) -> list[Path]:
    """Write one PNG for each crop, ``0001-<name>.png`` and so on: the crop, the heat map over it, and P(fake).

    Args:
        loaded: The trained detector.
        crops: ``uint8 [N, H, W, 3]`` RGB, as the network sees them.
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
        method = make_explainer(loaded, explainer, target)
        if method is None:
            log.warning(
                "%s has neither an evidence map nor layers for GradCAM: no overlays are drawn", loaded.manifest.name
            )
            return []
        return _write(loaded, method, crops, labels, names, Path(out_dir), target)
    except MissingExtra as error:
        if explainer is not None:
            raise
        log.warning("no overlays are drawn: %s", error)
        return []


def make_explainer(
    loaded: LoadedDetector, name: str | None = None, target: Literal["predicted", "fake", "real"] = "predicted"
) -> Explainer | None:
    """An explainer by its name; by default the one that suits the detector, ``None`` when there is none.

    Raises:
        DeepfakeError: There is no such explainer, or it cannot argue for the target.
        MissingExtra: What it needs is not installed.
    """
    if name is None:
        if target != "real" and any(output.name == "evidence" for output in loaded.manifest.outputs):
            name = "evidence"
        elif loaded.detector.explain_layers(loaded.network):
            name = "gradcam"
        else:
            return None
    made = load_explainer(name, loaded)
    if target != "predicted" and target not in made.targets:
        raise DeepfakeError(f"explainer {name!r} shows what speaks for {' or '.join(made.targets)} only; use gradcam")
    return made


def _write(
    loaded: LoadedDetector,
    explainer: Explainer,
    crops: NDArray[np.uint8],
    labels: NDArray[np.floating] | Sequence[int],
    names: Sequence[str],
    out_dir: Path,
    target: Literal["predicted", "fake", "real"],
) -> list[Path]:
    calibration = loaded.manifest.calibration
    files: list[Path] = []
    for number, (crop, label, name) in enumerate(zip(crops, labels, names, strict=True), 1):
        p_fake = calibration.p_fake(float(loaded.score(crop[None]).logit[0]))
        real = target == "real" or (target == "predicted" and p_fake < calibration.threshold)
        explainer.target = "real" if real and "real" in explainer.targets else "fake"
        heat = explainer.explain(loaded, crop)
        truth = "fake" if label >= 0.5 else "real"
        sheet = panel(
            crop, heat, p_fake=p_fake, title=f"is {truth}: {PurePath(name).name}", shows=CAPTIONS[explainer.target]
        )
        file = out_dir / picture_name(number, name)
        with atomic_path(file) as temporary:
            sheet.save(temporary, format="PNG")
        files.append(file)
    return files
