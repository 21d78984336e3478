"""Explanations of ensembles: as for a single detector if the members share their crop, otherwise combined."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import deepfake_core as df
from deepfake_core.ensemble.ensemble import Ensemble
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.inputs.crop import crop_square
from deepfake_core.runtimes.base import Outputs, Runtime
from deepfake_core.testing import draw_face
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize, manifest_of


class RedSpot(Runtime):
    """Runtime whose logit grows with the redness of the reddest pixel."""

    name = "spot"
    device = "cpu"

    def __init__(self, name: str, side: int, margin: float) -> None:
        preprocess = PreprocessSpec(
            crop=FaceCrop(margin=margin),
            resize=Resize(height=side, width=side),
            normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1)),
        )
        self.manifest = manifest_of(name=name, architecture=name, weights="trained", preprocess=preprocess)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        redness = images[..., 0].astype(np.float32) - images[..., 1:].max(axis=-1)
        return Outputs(redness.max(axis=(1, 2)) / 32 - 4)


def member(name: str, side: int, margin: float) -> LoadedDetector:
    return LoadedDetector(None, RedSpot(name, side, margin))


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Drawn face with a red spot on its cheek, at (150, 140)."""
    pixels = draw_face(0).copy()
    pixels[132:148, 142:158] = (255, 0, 0)
    return pixels


@pytest.mark.parametrize("second", [("wide", 96, 2.0), ("same", 96, 1.2)])
def test_the_map_of_an_ensemble_marks_the_place_that_its_members_look_at(picture, second) -> None:
    together = Ensemble([member("narrow", 64, 1.2), member(*second)], [1, 3])
    (explanation,) = together.explain(picture, method="occlusion", target="fake")
    assert explanation.face == together.predict(picture).faces[0]
    heat = explanation.heat.values
    assert heat.shape == (64, 64)
    assert 0.5 < heat.max() <= 1.0 + 1e-6
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    left, top, side = crop_square(explanation.face.box, FaceCrop(margin=1.2))
    x, y = left + (column + 0.5) * side / 64, top + (row + 0.5) * side / 64
    assert max(abs(x - 150), abs(y - 140)) < 16
    assert explanation.sentence in {
        f"Hiding the part {place} lowers P(fake) most." for place in ("on the cheeks", "around the nose")
    }
    assert "mean over 2 detectors" in explanation.heat.meaning
    assert explanation.image().size[0] > 500


def test_what_needs_a_network_says_so(picture) -> None:
    together = Ensemble([member("a", 64, 1.2), member("b", 64, 1.2)])
    with pytest.raises(df.DeepfakeError, match="'ensemble' has no network of its own; choose occlusion or rise"):
        together.explain(picture, method="rollout")


def test_a_picture_that_cannot_be_read_is_named(tmp_path) -> None:
    together = Ensemble([member("a", 64, 1.2), member("b", 32, 2.0)])
    with pytest.raises(df.InputError, match=r"absent\.png"):
        together.explain(tmp_path / "absent.png")


def test_a_stored_result_can_be_explained(picture) -> None:
    together = Ensemble([member("a", 64, 1.2), member("b", 32, 2.0)])
    (now,) = together.explain(picture, method="occlusion")
    kept = together.predict(picture, keep_crops=True)
    again = df.Result.from_dict(kept.to_dict(arrays=True))
    (later,) = together.explain_results([again], method="occlusion")
    np.testing.assert_array_equal(now.heat.values, later.heat.values)
