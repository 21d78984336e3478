"""The chart and the sheet of :mod:`deepfake_unet.evaluate`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deepfake_core import MissingExtra
from deepfake_registry.files import atomic_path, write_atomic
from deepfake_unet.effects import PATHS, swapped
from deepfake_unet.training.surrogates import SwapSurrogate

# Colours that most colour-blind readers can distinguish (Okabe & Ito 2008).
_COLOURS = {
    "noise": "#999999",
    "smooth noise": "#009e73",
    "brighter": "#56b4e9",
    "protector": "#0072b2",
    "PGD": "#e69f00",
}
_TILE, _LABEL = 160, 18
_AMPLIFIED = 10


def draw_chart(result: Mapping[str, Any], file: Path) -> None:
    """Write a PNG chart of the change of every network's output by attack and degradation, with intervals.

    Args:
        result: Figures that :func:`deepfake_unet.evaluate.measure` returned.
        file: PNG file to write.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("drawing the chart", "deepfake-unet[evaluate]") from error
    names = [*result["trained_against"], *result["held_out"]]
    figure = Figure(figsize=(3.0 * len(names), 4.2), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for place, (attack, colour) in enumerate(_COLOURS.items()):
            found = {
                row["path"]: row["change"]
                for row in result["effects"]
                if (row["surrogate"], row["attack"]) == (name, attack)
            }
            value, low, high = (np.array([found[path][key] for path in PATHS]) for key in ("value", "low", "high"))
            reach = np.maximum(0.0, (value - low, high - value))
            x = np.arange(len(PATHS)) + 0.21 * (place - (len(_COLOURS) - 1) / 2)
            axes.bar(x, value, width=0.19, color=colour, yerr=reach, label=attack, error_kw={"linewidth": 1})
        held_out = name in result["held_out"]
        axes.set_title(f"{name}\n{'not trained against' if held_out else 'trained against'}", fontsize=9)
        axes.set_xticks(range(len(PATHS)), list(PATHS), fontsize=8)
    panels[0].set_ylabel("change of the structure over its spread")
    labels = panels[0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=len(_COLOURS), frameon=False)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    write_atomic(file, data.getvalue())


def draw_sheet(
    swapper: SwapSurrogate,
    clean: NDArray[np.uint8],
    protected: NDArray[np.uint8],
    decoders: Sequence[int],
    file: Path,
    device: torch.device,
) -> None:
    """Write a row for each face: original, protected, ten times their difference, and both swaps.

    Args:
        swapper: Face swapper that makes the swaps.
        clean: Faces, uint8 [N, H, W, 3] RGB.
        protected: The same faces, protected.
        decoders: For each face, the decoder of the other set of faces.
        file: PNG file to write.
        device: Device of the swapper.
    """
    difference = protected.astype(np.int16) - clean.astype(np.int16)
    amplified = np.clip(128 + _AMPLIFIED * difference, 0, 255).astype(np.uint8)
    swaps = [
        swapped(swapper, torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255, decoders)
        for images in (clean, protected)
    ]
    columns = {
        "original": clean,
        "protected": protected,
        f"difference x{_AMPLIFIED}": amplified,
        "swap of original": swaps[0],
        "swap of protected": swaps[1],
    }
    sheet = Image.new("RGB", (_TILE * len(columns), _LABEL + _TILE * len(clean)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (title, images) in enumerate(columns.items()):
        pen.text((column * _TILE + 4, 3), title, fill="black")
        for row, image in enumerate(images):
            tile = Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
            sheet.paste(tile, (column * _TILE, _LABEL + row * _TILE))
    with atomic_path(file) as temporary:
        sheet.save(temporary, format="PNG")
