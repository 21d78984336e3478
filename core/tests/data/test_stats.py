"""Tests of the statistics: they report the properties of files that predict the class."""

from __future__ import annotations

import numpy as np
import pytest
from layouts import write
from media import encoded, grey_frames, video_bytes
from mini_sets import jpeg

from deepfake_core.data.stats import collect
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError


def test_equal_classes_show_no_shortcut(tmp_path):
    names = [f"{label}/{label[0]}{number}.jpg" for label in ("real", "fake") for number in range(40)]
    found = collect(ImageFolder(write(tmp_path, {name: jpeg(number) for number, name in enumerate(names)})))
    assert not found.shortcuts
    assert [(cell.label, cell.files, cell.formats, cell.modes) for cell in found.cells] == [
        ("fake", 40, {"JPEG": 40}, {"RGB": 40}),
        ("real", 40, {"JPEG": 40}, {"RGB": 40}),
    ]
    assert found.cells[0].quantiles["megapixels"] == (0.0023, 0.0023, 0.0023)
    assert 0.2 < found.cells[0].quantiles["brightness"][1] < 0.8


def test_properties_that_give_the_class_away_are_named(tmp_path):
    files = {f"a/real/r{number}.jpg": jpeg(number) for number in range(30)}
    files |= {f"a/fake/f{number}.png": jpeg(100 + number, 64, format="PNG") for number in range(29)}
    files |= {"a/fake/f29.jpg": jpeg(200)}
    files |= {f"b/real/s{number}.jpg": jpeg(300 + number) for number in range(30)}
    files["b/real/broken.jpg"] = b"\xff\xd8\xff"
    found = collect(ImageFolder(write(tmp_path, files)))
    assert found.unreadable == 1
    said = [str(shortcut) for shortcut in found.shortcuts]
    assert (
        "class is predictable from file format in a: real is JPEG 100%, fake is PNG 97% (0.98, chance is 0.50)" in said
    )
    assert "class is predictable from file format: real is JPEG 100%, fake is PNG 97% (0.98, chance is 0.50)" in said
    assert any(
        text.startswith("class is predictable from picture size (megapixels): real has a median") for text in said
    )
    assert not any("in b" in text for text in said)
    assert found.to_dict()["shortcuts"][0]["strength"] >= found.to_dict()["shortcuts"][-1]["strength"]


def test_few_files_prove_nothing(tmp_path):
    files = {f"real/{number}.jpg": jpeg(number) for number in range(15)}
    files |= {f"fake/{number}.png": jpeg(number, format="PNG") for number in range(15)}
    assert not collect(ImageFolder(write(tmp_path, files))).shortcuts


def test_face_sizes_are_measured_where_asked(tmp_path):
    files = {"real/face.png": encoded(draw_face(), "PNG"), "real/none.jpg": jpeg(0)}
    (found,) = collect(ImageFolder(write(tmp_path, files)), faces=True).cells
    assert found.files == 2
    assert all(40 < size < 256 for size in found.quantiles["face_px"]), "a picture without a face has no size of one"


def test_black_pictures_have_a_brightness(tmp_path):
    black = encoded(np.zeros((16, 16, 3), np.uint8), "PNG")
    (found,) = collect(ImageFolder(write(tmp_path, {"real/a.png": black}))).cells
    assert found.quantiles["brightness"] == (0, 0, 0)


def test_videos_are_measured_by_their_first_frame(tmp_path):
    clip = video_bytes(grey_frames(5))
    files = {"real/a.mp4": clip, "fake/b.mp4": clip}
    found = collect(ImageFolder(write(tmp_path, files)))
    assert found.cells[0].quantiles["megapixels"][1] == pytest.approx(64 * 48 / 1e6, abs=1e-4)
    assert found.cells[0].quantiles["bytes_per_pixel"] == ()


def test_nothing_readable_is_an_error(tmp_path):
    with pytest.raises(TrainingDataError, match="none of 1 files"):
        collect(ImageFolder(write(tmp_path, {"real/a.jpg": b"nothing"})))


def test_the_plot_is_a_picture(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from deepfake_core.data import plot

    monkeypatch.setattr(plot, "_MOST_SOURCES", 2)
    files = {f"{source}/real/{number}.jpg": jpeg(number) for source in "abc" for number in range(3)}
    files |= {"a/fake/z.jpg": jpeg(99)}
    plot.plot(collect(ImageFolder(write(tmp_path / "set", files))), tmp_path / "p.png")
    drawn = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    assert min(drawn.shape[:2]) > 400
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
