from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deepfake_registry.manifest import (
    Calibration,
    FaceCrop,
    FileRef,
    LabelMap,
    ModelManifest,
    Normalize,
    PreprocessSpec,
    Resize,
    WholeImage,
    manifest_of,
    scale_in_words,
)

PREPROCESS = PreprocessSpec(
    resize=Resize(height=224, width=192), normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
)
LOGITS = st.floats(-1e4, 1e4, allow_nan=False)


def manifest(**fields) -> ModelManifest:
    return manifest_of(name="lite", architecture="lite", preprocess=PREPROCESS, weights="trained", **fields)


# ── manifest ──


def test_an_image_manifest_states_the_tensors_of_the_contract():
    made = manifest(evidence=(14, 12))
    assert [(t.name, t.dtype, t.shape) for t in (*made.inputs, *made.outputs)] == [
        ("images", "uint8", ("N", 224, 192, 3)),
        ("logit", "float32", ("N",)),
        ("evidence", "float32", ("N", 14, 12)),
    ]
    assert [t.name for t in manifest().outputs] == ["logit"]


@pytest.mark.parametrize("crop", [FaceCrop(margin=1.6, border="constant"), WholeImage()])
def test_json_round_trip_keeps_everything(crop):
    made = manifest_of(
        name="lite",
        architecture="lite",
        weights="trained",
        preprocess=PREPROCESS.model_copy(update={"crop": crop}),
        calibration=Calibration(temperature=1.7, bias=-0.2, threshold=0.6, unsure_low=0.4, unsure_high=0.7),
        config={"image_size": 224},
        files={"onnx": FileRef(path="model.onnx", sha256="0" * 64, size_bytes=3)},
    )
    assert ModelManifest.model_validate_json(made.model_dump_json()) == made


def test_the_embedded_copy_lists_no_files():
    made = manifest(files={"onnx": FileRef(path="model.onnx", sha256="0" * 64, size_bytes=3)})
    assert made.embedded().files == {}
    assert made.embedded() == manifest()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Lite/../x"},
        {"weights": "good"},
        {"schema_version": 2},
        {"surprise": 1},
        {"files": {"onnx": {"path": "m", "sha256": "abc", "size_bytes": 1}}},
    ],
)
def test_what_a_manifest_refuses(change):
    with pytest.raises(ValidationError):
        ModelManifest.model_validate(manifest().model_dump() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"resize": {"height": 0, "width": 224}},
        {"resize": {"height": 224, "width": 224, "interpolation": "magic"}},
        {"normalize": {"mean": (0, 0, 0), "std": (1, 0, 1)}},
        {"crop": {"kind": "tarot"}},
        {"crop": {"kind": "face_crop", "margin": 9}},
    ],
)
def test_what_preprocessing_refuses(change):
    with pytest.raises(ValidationError):
        PreprocessSpec.model_validate(PREPROCESS.model_dump() | change)


def test_a_manifest_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        manifest().name = "other"


# ── labels: sources disagree on which index is fake, so nothing is guessed ──


@pytest.mark.parametrize(
    ("names", "fake"),
    [({0: "Fake", 1: "Real"}, 0), ({0: "real", 1: "FAKE"}, 1), ({0: "training_fake", 1: "training_real"}, 0)],
)
def test_labels_are_read_by_name_whatever_their_order(names, fake):
    read = LabelMap.from_names(names)
    assert (read.fake, read.real) == (fake, 1 - fake)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({0: "Fake"}, "need one real and one fake"),
        ({}, "need one real and one fake"),
        ({0: "fake", 1: "deepfake"}, "need one real and one fake"),
        ({0: "fake", 1: "real", 2: "original"}, "need one real and one fake"),
        ({0: "LABEL_0", 1: "LABEL_1"}, "means neither real nor fake"),
        ({0: "real", 1: "fake", 2: "cartoon"}, "means neither real nor fake"),
    ],
)
def test_missing_or_ambiguous_labels_are_an_error(names, reason):
    with pytest.raises(ValueError, match=reason):
        LabelMap.from_names(names)


def test_one_index_for_both_classes_is_an_error():
    with pytest.raises(ValidationError, match="share the index"):
        LabelMap(real=1, fake=1)


# ── calibration ──


@given(logit=LOGITS, temperature=st.floats(0.05, 20), bias=st.floats(-5, 5))
def test_p_fake_is_the_sigmoid_of_the_scaled_logit_and_never_overflows(logit, temperature, bias):
    p = Calibration(temperature=temperature, bias=bias).p_fake(logit)
    assert 0 <= p <= 1
    z = logit / temperature + bias
    if abs(z) < 30:
        assert math.isclose(p, 1 / (1 + math.exp(-z)), rel_tol=1e-9)


@given(a=LOGITS, b=LOGITS, temperature=st.floats(0.05, 20))
def test_calibration_never_changes_the_order_of_two_scores(a, b, temperature):
    calibration = Calibration(temperature=temperature)
    low, high = sorted((a, b))
    assert calibration.p_fake(low) <= calibration.p_fake(high)


@given(st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3), st.floats(0, 1))
def test_verdicts_follow_the_band_then_the_threshold(numbers, p):
    low, threshold, high = sorted(numbers)
    verdict = Calibration(threshold=threshold, unsure_low=low, unsure_high=high).verdict(p)
    expected = "real" if p < low else "unsure" if p < high else "fake"
    assert verdict == expected


def test_without_a_band_the_threshold_itself_is_fake():
    plain = Calibration()
    assert [plain.verdict(p) for p in (0.0, 0.4999, 0.5, 1.0)] == ["real", "real", "fake", "fake"]


@pytest.mark.parametrize("band", [(0.6, 0.7), (0.2, 0.4)])
def test_a_band_that_misses_the_threshold_is_refused(band):
    with pytest.raises(ValidationError, match="must hold the threshold"):
        Calibration(threshold=0.5, unsure_low=band[0], unsure_high=band[1])


@pytest.mark.parametrize(
    ("band", "said"),
    [
        ((0.3111, 0.7441), "fake from 74.4%, real below 31.1%; in between let a person look"),
        ((0.5, 0.5), "fake from 50.0%, real below; close to it let a person look"),
        ((0.0, 0.7), "fake from 70.0%, never real; below let a person look"),
        ((0.3, 1.0), "real below 30.0%, never fake; above let a person look"),
        ((0.0, 1.0), "always unsure, as this model does not tell fakes from real faces"),
    ],
)
def test_the_scale_says_what_the_verdicts_follow(band, said):
    assert scale_in_words(*band) == said
    plain = Calibration(threshold=0.5, unsure_low=band[0], unsure_high=band[1])
    possible = {plain.verdict(p / 1000) for p in range(1000)}
    assert ("fake" in possible, "real" in possible) == ("fake from" in said, "real below" in said)
