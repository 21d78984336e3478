from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepfake_core import load
from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers.evidence import EvidenceMap
from deepfake_core.explainers.overlay import colours, overlay, panel
from deepfake_core.runtimes.base import Outputs

CROP = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_evidence_map_covers_the_crop(tiny: Path) -> None:
    detector = load("tiny")
    heat = EvidenceMap().explain(detector, CROP)
    assert (heat.shape, heat.dtype) == ((64, 64), np.float32)
    cells = detector.score(CROP[None]).evidence
    assert cells is not None
    centre = 1 / (1 + np.exp(-cells[0, 4, 4]))
    assert heat[32:40, 32:40].mean() == pytest.approx(centre, abs=0.02), "a cell lies over the pixels it speaks of"


def test_detector_without_an_evidence_map() -> None:
    silent = SimpleNamespace(score=lambda _: Outputs(np.zeros(1, np.float32)), manifest=SimpleNamespace(name="silent"))
    with pytest.raises(DeepfakeError, match="'silent' has no evidence map"):
        EvidenceMap().explain(silent, CROP)


def test_overlay_shows_the_crop_where_nothing_is_suspicious() -> None:
    heat = np.zeros((64, 64), np.float32)
    np.testing.assert_array_equal(overlay(CROP, heat), CROP)
    heat[:32] = 1.0
    drawn = overlay(CROP, heat)
    np.testing.assert_array_equal(drawn[32:], CROP[32:])
    assert (drawn[:32] != CROP[:32]).any()
    with pytest.raises(ValueError, match="heat map"):
        overlay(CROP, heat[:10])


def test_colours_grow_lighter() -> None:
    lightness = colours(np.linspace(0, 1, 50, dtype=np.float32)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all(), "the scale must also read in grey"


@pytest.mark.parametrize("title", ["", "photo.jpg", "x" * 500, "/päth/日本\x1b[31m\n.jpg"])
def test_panel_is_drawn_for_any_title(title: str) -> None:
    sheet = panel(CROP, np.full((64, 64), 0.5, np.float32), p_fake=0.25, title=title)
    assert sheet.mode == "RGB"
    assert sheet.size == (2 * 256 + 4 * 12 + 44, 52 + 256 + 26)
