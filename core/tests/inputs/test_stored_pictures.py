"""Tests of images as their files store them, beside the upright images that detectors get."""

import io

import numpy as np
import pytest
from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import decode, stored_picture, turned_back

MARKED = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_undoes_the_turn(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Image.fromarray(MARKED).save(data, "PNG", exif=exif)
    upright = decode(data.getvalue()).pixels
    stored, found = stored_picture(data.getvalue())
    assert found == orientation
    assert np.array_equal(np.asarray(stored), MARKED)
    assert np.array_equal(turned_back(upright, orientation), MARKED)


def test_mode_and_what_the_file_says_stay():
    data = io.BytesIO()
    Image.fromarray(MARKED).convert("LA").save(data, "PNG", icc_profile=b"profile")
    stored, _ = stored_picture(data.getvalue())
    assert stored.mode == "LA"
    assert stored.info["icc_profile"] == b"profile"
    assert stored_picture(MARKED)[0].mode == "RGB"


def test_the_users_picture_is_not_changed():
    given = Image.fromarray(MARKED)
    stored, _ = stored_picture(given)
    stored.putpixel((0, 0), (9, 9, 9))
    assert np.array_equal(np.asarray(given), MARKED)


def test_limits_and_damage_are_those_of_decode(tmp_path):
    data = io.BytesIO()
    Image.fromarray(MARKED).save(data, "PNG")
    with pytest.raises(InputError, match="limit"):
        stored_picture(data.getvalue(), max_pixels=10)
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    with pytest.raises(InputError, match=r"cut\.png"):
        stored_picture(tmp_path / "cut.png")
    with pytest.raises(InputError, match="cannot read"):
        stored_picture(3)
