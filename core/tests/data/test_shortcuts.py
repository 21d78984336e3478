"""Tests of the audit: it finds what is planted in one class, names a remedy, and is quiet about equal classes."""

from __future__ import annotations

import io
import math
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from layouts import write
from media import grey_frames, video_bytes
from mini_sets import jpeg
from PIL import Image

import deepfake_core as df
from deepfake_core.data.audit.audit import audit
from deepfake_core.data.audit.features import NAMES, features_of, sharpness_of
from deepfake_core.data.audit.files import CODING, FRAMING, file_features, framing_features
from deepfake_core.data.audit.random_features import DIMENSIONS, random_features
from deepfake_core.data.audit.remedies import MEANINGS, TOGETHER
from deepfake_core.data.audit.result import ALL, Shortcuts
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import DeepfakeError, InputError, MissingExtra, TrainingDataError
from deepfake_core.inputs.boxes import Box
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize, WholeImage

pytest.importorskip("sklearn")

COUNT, SIDE = 40, 96
NORMALIZE = Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
WHOLE = PreprocessSpec(crop=WholeImage(), resize=Resize(height=48, width=48), normalize=NORMALIZE)
WHOLE_PICTURES = SimpleNamespace(manifest=SimpleNamespace(preprocess=WHOLE))


@pytest.fixture(scope="module")
def faces():
    """``uint8 [2 · COUNT, SIDE, SIDE, 3]``: drawn faces that differ in light, colour, sharpness and noise."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(2 * COUNT):
        face = draw_face(number, SIDE).astype(np.float32)
        face = face * rng.uniform(0.8, 1.1) + rng.normal(0, rng.uniform(3, 4), face.shape)
        found.append(cv2.GaussianBlur(face, (0, 0), rng.uniform(0.5, 0.6)).clip(0, 255).astype(np.uint8))
    return np.stack(found)


def coded(pixels, quality):
    done = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(done, cv2.IMREAD_COLOR)


def smaller(pixels):
    return cv2.resize(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (SIDE, SIDE))


def sharpened(pixels):
    return cv2.addWeighted(pixels, 1.8, cv2.GaussianBlur(pixels, (0, 0), 1), -0.8, 0)


def bordered(pixels):
    framed = pixels.copy()
    framed[:4] = framed[-4:] = framed[:, :4] = framed[:, -4:] = 0
    return framed


def noisy(pixels):
    return np.clip(pixels + np.random.default_rng(int(pixels.sum())).normal(0, 8, pixels.shape), 0, 255).astype(
        np.uint8
    )


def audited(real, fake, **options):
    pictures = [*real, *fake]
    label = np.repeat([0, 1], [len(real), len(fake)])
    table = np.stack([features_of(picture, SIDE) for picture in pictures])
    names = [f"group {number}" for number in range(len(pictures))]
    return audit(table, NAMES, label, names, np.full(len(pictures), "a"), **options)


def test_equal_classes_raise_no_alarm(faces):
    found = audited(faces[:COUNT], faces[COUNT:])
    assert found.exceeds() == ()
    (one,) = found.sources
    assert (one.source, one.real, one.fake, one.problem) == ("a", COUNT, COUNT, "")
    assert one.together == one.seen, "all of these numbers are of the pixels"
    assert 0.5 <= one.findings[-1].auc.value <= one.findings[0].auc.value
    assert one.findings[0].auc.low < one.findings[0].auc.value < one.findings[0].auc.high


@pytest.mark.parametrize(
    ("plant", "among"),
    [
        (lambda face: coded(face, 25), {"jpeg_grid", "colour_detail"}),
        (smaller, {"sharpness_1"}),
        (sharpened, {"sharpness_1"}),
        (lambda face: cv2.GaussianBlur(face, (0, 0), 1.2), {"sharpness_1", "sharpness_2"}),
        (bordered, {"border_flat", "border_level", "border_step"}),
        (lambda face: np.minimum(face, 215) + 40, {"brightness"}),
        (lambda face: np.repeat(face.mean(2, keepdims=True), 3, 2).astype(np.uint8), {"saturation", "grey"}),
        (noisy, {"noise"}),
        (lambda face: (face * (1, 0.9, 0.7)).astype(np.uint8), {"colour_cast"}),
    ],
    ids=["quality", "size", "sharpened", "blurred", "border", "brighter", "grey", "noise", "colour cast"],
)
def test_what_is_planted_in_one_class_is_found(faces, plant, among):
    found = audited(faces[:COUNT], [plant(face) for face in faces[COUNT:]])
    above = {finding.feature: finding for finding in found.exceeds()}
    assert among <= above.keys()
    assert TOGETHER in above
    assert all(above[name].remedy for name in among)
    assert all(name in str(above[TOGETHER]) for name in ("a: all together", "AUC"))


def test_the_class_with_the_larger_numbers_is_named(faces):
    brighter = audited([np.minimum(face, 215) + 40 for face in faces[:COUNT]], faces[COUNT:])
    (finding,) = (one for one in brighter.worst if one.feature == "brightness")
    assert finding.larger_in == "real"
    assert finding.real > finding.fake + 0.1
    assert finding.auc.value > 0.9, "folded: which class is brighter does not matter"


def test_groups_are_kept_together():
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(20), 10)
    table = rng.normal(size=(20, 8)).astype(np.float32)[persons] + rng.normal(0, 0.01, (200, 8)).astype(np.float32)
    label, source = persons % 2, np.full(200, "a")
    names = [f"x{number}" for number in range(8)]
    (whole,) = audit(table, names, label, persons, source).sources
    (divided,) = audit(table, names, label, np.arange(200), source).sources
    assert divided.together.value > 0.99, "each person is on both sides, and is known by heart"
    assert whole.together.value < 0.9
    assert whole.findings[0].auc.high - whole.findings[0].auc.low > 0.3, "20 persons are few, however many pictures"


def test_a_source_with_one_class_stands_beside_others():
    rng = np.random.default_rng(0)
    source = np.repeat(["fakes", "one", "two"], 40)
    label = (source == "fakes").astype(int)
    table = rng.normal(size=(120, 2)).astype(np.float32)
    group = np.arange(120)
    alone = audit(table, ["x", "y"], label, group, source)
    assert [(one.source, one.problem) for one in alone.sources] == [
        ("fakes", "fakes only"), ("one", "real faces only"), ("two", "real faces only"), (ALL, ""),
    ]  # fmt: skip
    assert alone.table()[1] == ("fakes", "0", "40", "", "fakes only", "–", "–", "–", "–")
    named = audit(table, ["x", "y"], label, group, source, beside={"fakes": ("two",), "one": ("*",)})
    assert [(one.real, one.fake, one.beside) for one in named.sources[:2]] == [
        (40, 40, ("two",)),
        (40, 40, ("fakes",)),
    ]
    with pytest.raises(TrainingDataError, match="beside: no source is called 'tow'; there are fakes, one, two"):
        audit(table, ["x", "y"], label, group, source, beside={"fakes": ("tow",)})


def test_parts_of_a_collection_share_its_real_samples():
    table, group = np.random.default_rng(0).normal(size=(80, 1)).astype(np.float32), np.arange(80)
    source = np.repeat(["ff", "ff/Deepfakes"], 40)
    found = audit(table, ["x"], np.repeat([0, 1], 40), group, source)
    assert [(one.source, one.beside, one.problem) for one in found.sources] == [
        ("ff", (), "real faces only"),
        ("ff/Deepfakes", ("ff",), ""),
    ], "which is all there is"


@pytest.mark.parametrize(
    ("label", "group", "said"),
    [
        (np.zeros(60), np.arange(60), "a has real faces only"),
        (np.ones(60), np.arange(60), "a has fakes only"),
        (np.arange(60) < 19, np.arange(60), "a has too few samples; it takes 20 samples of both"),
        (
            np.arange(60) < 30,
            np.arange(60) % 4,
            "a has too few groups; it takes 20 samples of both",
        ),
    ],
)
def test_what_cannot_be_compared_is_an_error_with_its_reason(label, group, said):
    table = np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32)
    with pytest.raises(TrainingDataError, match=f"nothing to audit: {said}"):
        audit(table, ["x"], label, group, np.full(60, "a"))


def test_numbers_that_are_not_known_or_all_the_same_are_left_out():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(100, 4)).astype(np.float32)
    table[:, 0], table[:, 1] = math.nan, 3
    table[:45, 2] = math.nan
    (one,) = audit(table, list("wxyz"), np.arange(100) % 2, np.arange(100), np.full(100, "a")).sources
    assert {finding.feature for finding in one.findings} == {"y", "z"}


def test_the_baseline_and_the_result_survive_json(faces):
    baseline = np.stack([random_features(face) for face in faces])
    assert baseline.shape == (2 * COUNT, DIMENSIONS)
    assert np.isfinite(baseline).all()
    found = audited(faces[:COUNT], [bordered(face) for face in faces[COUNT:]], baseline=baseline)
    assert found.sources[0].baseline is not None
    content = found.to_dict()
    again = Shortcuts.from_dict(content)
    assert again.to_dict() == content
    assert again.table() == found.table()
    assert [finding.feature for finding in again.exceeds()] == [finding.feature for finding in found.exceeds()]
    assert found.short()["a"].keys() == {"worst", "auc", "together", "seen", "baseline"}
    with pytest.raises(DeepfakeError, match="audit the data again"):
        again.plot("nowhere.png")


def test_the_strongest_three_are_drawn(faces, tmp_path):
    pytest.importorskip("matplotlib")
    found = audited(faces[:COUNT], [bordered(face) for face in faces[COUNT:]])
    assert len(found.values) == 3
    found.plot(tmp_path / "worst.png")
    with Image.open(tmp_path / "worst.png") as drawn:
        assert drawn.width > 3 * 300


def test_every_number_has_a_name_and_a_remedy():
    assert {*NAMES, *FRAMING, *CODING, TOGETHER} == MEANINGS.keys()
    assert all(meaning.called and meaning.remedy for meaning in MEANINGS.values())


def test_numbers_hold_for_any_size_and_for_flat_pictures():
    for side in (8, 33, 64):
        for picture in (np.zeros((side, side, 3), np.uint8), draw_face(0, side)):
            found = features_of(picture, side)
            assert found.shape == (len(NAMES),)
            assert np.isfinite(found).all()
    flat = dict(zip(NAMES, features_of(np.full((64, 64, 3), 255, np.uint8), 64), strict=True))
    assert (flat["brightness"], flat["clipped"], flat["grey"], flat["border_flat"]) == (1, 1, 1, 1)
    assert sharpness_of(draw_face(0, 64)) == pytest.approx(
        features_of(draw_face(0, 64), 64)[NAMES.index("sharpness_1")]
    )


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def header(data):
    return dict(zip(CODING, file_features(data, "a").tolist(), strict=True))


def test_the_header_of_a_file_tells_how_it_was_coded():
    for quality, sampling in ((30, 0), (75, 2), (95, 1)):
        found = header(jpeg(0, 64, quality=quality, subsampling=sampling))
        assert found["jpeg_quality"] == pytest.approx(quality, abs=1)
        assert found["chroma_subsampling"] == sampling
        assert (found["format_jpeg"], found["format_png"], found["picture_px"], found["aspect"]) == (1, 0, 64, 1)
    png = header(jpeg(0, 64, format="PNG"))
    assert (png["format_jpeg"], png["format_png"]) == (0, 1)
    assert math.isnan(png["jpeg_quality"])
    assert all(math.isnan(value) for value in header(video_bytes(grey_frames(3))).values())
    with pytest.raises(InputError, match="damaged"):
        file_features(b"\xff\xd8\xff\xe0", "a")


def test_the_box_tells_the_framing():
    found = dict(
        zip(FRAMING, framing_features(Box(0, 20, 40, 50), (100, 200), FaceCrop(margin=2)).tolist(), strict=True)
    )
    assert found == pytest.approx(
        {"face_px": 50, "face_share": 0.25, "face_x": 0.1, "face_y": 0.45, "face_aspect": 0.8, "outside": 0.335}
    )
    part = framing_features(Box(0, 20, 40, 50), (100, 200), FaceCrop(margin=2), whole=False)
    assert np.isnan(part[1:4]).all()
    assert np.isnan(framing_features(None, (100, 200), None)).all()


def picture(seed, side=64, **options):
    return jpeg(seed, side, **options)


def test_coding_and_size_given_to_one_class_are_found(tmp_path):
    files = {}
    for number in range(20):
        for place, (source, plant) in enumerate(
            {
                "coded": {"quality": 40},
                "equal": {},
                "lossless": {"format": "PNG"},
                "sized": {"side": 96},
            }.items()
        ):
            seed = 1000 * place + 2 * number
            files[f"{source}/real/r{number}.jpg"] = picture(seed)
            files[f"{source}/fake/f{number}.jpg"] = picture(seed + 1, **plant)
    files["equal/fake/broken.jpg"] = b"\xff\xd8\xff"
    found = df.data.shortcuts(write(tmp_path, files), detector=WHOLE_PICTURES)
    assert found.unreadable == 1
    assert found.settings["faces"] == 160
    above = {(finding.source, finding.feature) for finding in found.exceeds()}
    assert {("coded", "jpeg_quality"), ("lossless", "format_png"), ("sized", "picture_px")} <= above
    assert not any(source == "equal" for source, _ in above)


def test_videos_are_measured_by_their_frames(tmp_path):
    clip = video_bytes(grey_frames(5))
    files = {f"{label}/{number}.mp4": clip for label in ("real", "fake") for number in range(6)}
    found = df.data.shortcuts(write(tmp_path, files), detector=WHOLE_PICTURES)
    assert found.settings["faces"] == 12 * 4
    assert found.exceeds() == ()


def test_a_dataset_without_faces_is_an_error(tmp_path):
    root = write(tmp_path, {"real/a.jpg": b"nothing", "fake/b.jpg": jpeg(0)})
    with pytest.raises(TrainingDataError, match="no face to audit; 1 of 2 files cannot be read and 1 show no face"):
        df.data.shortcuts(ImageFolder(root))
    with pytest.raises(TrainingDataError, match="drop files"):
        df.data.shortcuts(root, files=tmp_path)


def test_sizes_and_detectors_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DeepfakeError, match="give the detector alone"):
        df.data.shortcuts(tmp_path, detector=WHOLE_PICTURES, side=64)
    with pytest.raises(DeepfakeError, match="margin=9"):
        df.data.shortcuts(tmp_path, margin=9)
    with pytest.raises(DeepfakeError, match="name one of them"):
        df.data.shortcuts(tmp_path, detector=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match=r"deepfake-core\[data\]"):
        df.data.shortcuts(tmp_path)


def test_faces_are_cut_as_a_detector_cuts_them(tmp_path):
    files = {}
    for number in range(24):
        for label, side in (("real", 96), ("fake", 96)):
            buffer = io.BytesIO()
            Image.fromarray(draw_face(2 * number + (label == "fake"), side)).save(buffer, "PNG")
            files[f"{label}/{number}{label[0]}.png"] = buffer.getvalue()
    files["real/empty.jpg"] = jpeg(0)
    found = df.data.shortcuts(write(tmp_path, files), side=64, margin=1.5)
    assert found.faceless == 1
    assert (found.settings["side"], found.settings["margin"]) == (64, 1.5)
    (one,) = found.sources
    assert {"face_px", "face_share", "face_x", "outside"} <= {finding.feature for finding in one.findings}
