from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepfake_core import load
from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers.evidence import EvidenceMap
from deepfake_core.explainers.overlay import colours, overlay, panel
from deepfake_core.explainers.places import share_of_face, strongest_place
from deepfake_core.runtimes.base import Outputs
from deepfake_registry.manifest import Calibration, FaceCrop, Normalize, PreprocessSpec, Resize, WholeImage

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


def test_only_what_is_above_the_floor_has_a_colour() -> None:
    heat = np.full((64, 64), 0.6, np.float32)
    np.testing.assert_array_equal(overlay(CROP, heat, floor=0.6), CROP)
    heat[:32] = 0.7
    drawn = overlay(CROP, heat, floor=0.6)
    np.testing.assert_array_equal(drawn[32:], CROP[32:])
    assert np.abs(drawn[:32].astype(int) - CROP[:32]).mean() > 10, "what is named is seen"


def test_colours_grow_lighter() -> None:
    lightness = colours(np.linspace(0, 1, 50, dtype=np.float32)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all(), "the scale must also read in grey"


@pytest.mark.parametrize("title", ["", "photo.jpg", "x" * 500, "/päth/日本\x1b[31m\n.jpg"])
def test_panel_is_drawn_for_any_title(title: str) -> None:
    sheet = panel(CROP, np.full((64, 64), 0.5, np.float32), p_fake=0.25, title=title)
    assert sheet.mode == "RGB"
    longer = panel(CROP, np.zeros((64, 64), np.float32), p_fake=0.25, title=title, sentence="many words " * 30)
    assert longer.width == sheet.width
    assert longer.height > sheet.height


@pytest.mark.parametrize("band", [(0.3, 0.7), (0.5, 0.5), (0.0, 1.0), (0.05, 0.95), (0.49, 0.51), (0.0, 0.4)])
@pytest.mark.parametrize("p_fake", [0.0, 0.5, 1.0, None])
def test_the_scale_is_drawn_for_any_band(band: tuple[float, float], p_fake: float | None) -> None:
    sheet = np.asarray(panel(CROP, np.zeros((64, 64), np.float32), p_fake=p_fake, band=band))
    (row,) = {tuple(map(tuple, line[14:-14:6].tolist())) for line in sheet[60:62]}
    colour_of = {"real": (150, 195, 225), "unsure": (225, 225, 225), "fake": (240, 165, 120)}
    expected = [name for name, (low, high) in zip(colour_of, ((0, band[0]), band, (band[1], 1)), strict=True)
                if high - low > 0.02]  # fmt: skip
    assert [name for name, colour in colour_of.items() if colour in row] == expected


def test_the_evidence_map_is_relative_to_real_faces() -> None:
    def manifest(**validation: float) -> Any:
        return SimpleNamespace(metrics={"validation": validation} if validation else {})

    explainer = EvidenceMap()
    assert explainer.floor(manifest(evidence_limit=0.6)) == 0.6
    assert "95 of 100 real faces" in explainer.colour_means(manifest(evidence_limit=0.6))
    for older in (manifest(), manifest(auc=0.9)):
        assert explainer.floor(older) == 0.5
        assert (
            explainer.colour_means(older) == "Colour: places that the network takes for manipulated rather than real."
        )


@pytest.mark.parametrize(
    ("place", "whole", "p_fake", "sentence"),
    [
        ("", False, 0.1, "Nothing stands out: no place shows more signs of manipulation than real faces do."),
        ("", False, 0.5, "Nothing localised: the score comes from the whole face."),
        ("", False, 0.9, "Nothing localised: the score comes from the whole face."),
        ("around the mouth", False, 0.9, "The evidence is strongest around the mouth."),
        ("around the mouth", True, 0.9, "The evidence covers most of the face, and is strongest around the mouth."),
    ],
)
def test_the_sentence_of_an_evidence_map(place: str, whole: bool, p_fake: float, sentence: str) -> None:
    calibration = Calibration(unsure_low=0.3, unsure_high=0.7)
    assert EvidenceMap().sentence(place, whole=whole, p_fake=p_fake, calibration=calibration) == sentence


FACE = PreprocessSpec(
    crop=FaceCrop(margin=1.3), resize=Resize(height=100, width=100), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1))
)
WHOLE = FACE.model_copy(update={"crop": WholeImage()})


@pytest.mark.parametrize(
    ("down", "right", "place"),
    [
        (41, 36, "around the eyes"),
        (41, 64, "around the eyes"),
        (57, 50, "around the nose"),
        (57, 70, "on the cheeks"),
        (68, 45, "around the mouth"),
        (20, 50, "on the forehead"),
        (85, 50, "around the chin"),
        (80, 70, "on the jaw"),
        (2, 50, "outside of the face"),
        (50, 95, "outside of the face"),
        (97, 50, "outside of the face"),
    ],
)
def test_places_have_the_names_that_people_give_them(down: int, right: int, place: str) -> None:
    heat = np.zeros((100, 100), np.float32)
    heat[down, right] = 0.7
    assert strongest_place(heat, FACE) == place


def test_a_whole_picture_has_no_known_face() -> None:
    heat = np.zeros((90, 60), np.float32)
    for down, right, place in ((0, 0, "at the top left"), (45, 30, "in the middle"), (89, 59, "at the bottom right")):
        heat[down, right] = heat.max() + 0.1
        assert strongest_place(heat, WHOLE) == place
    assert share_of_face(heat > 2, WHOLE) == 0.0
    half = np.arange(100)[:, None] < np.full(100, 50)
    assert share_of_face(half, FACE) == share_of_face(half, WHOLE) == pytest.approx(0.5)
    assert share_of_face(~half | half, FACE) == 1.0
