"""Splits that share no identity, and calibration that means what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_core.data.splits import families
from deepfake_core.datasets.labels import sequence_identities
from deepfake_core.evaluation.calibration import MAX_FALSE_ALARMS, fit_calibration
from deepfake_core.evaluation.metrics import ece
from deepfake_core.training.pairs.face_table import FaceTable, split_by_group

pytestmark = pytest.mark.torch


def table(groups: list[str], fake: list[int]) -> FaceTable:
    count = len(groups)
    return FaceTable(
        paths=np.array([f"{index}.jpg" for index in range(count)]),
        fake=np.array(fake, np.int8),
        sources=np.array([group.split("/")[0] for group in groups]),
        groups=np.array(groups),
        families=np.array(families(groups, [sequence_identities(group) for group in groups])),
        boxes=np.zeros((count, 4), np.float32),
        points=np.zeros((count, 3, 2), np.float32),
        rejected=(("x.jpg", "no face found"),),
    )


def test_a_table_survives_the_disk(tmp_path):
    written = table(["a/1", "a/2"], [0, 1])
    written.save(tmp_path / "faces.npz")
    read = FaceTable.read(tmp_path / "faces.npz")
    for name in ("paths", "fake", "sources", "groups", "families", "boxes", "points"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.rejected == written.rejected


def test_groups_are_never_divided_and_every_source_is_held_out():
    groups = [f"{source}/{index // 4}" for source in ("a", "b") for index in range(80)]
    faces = table(groups, [0] * 160)
    rows, held_out = split_by_group(faces, 0.2)
    assert sorted([*rows, *held_out]) == list(range(160))
    assert not set(faces.groups[rows]) & set(faces.groups[held_out])
    assert set(faces.sources[held_out]) == {"a", "b"}
    assert 0.15 < len(held_out) / 160 < 0.25


def test_face_swaps_stay_with_both_identities():
    groups = []
    for first in range(0, 40, 2):
        a, b = f"{first:03d}", f"{first + 1:03d}"
        groups += [f"ff/youtube_{a}_0", f"ff/youtube_{b}_1", f"ff/Deepfakes_{a}_{b}_0", f"ff/FaceSwap_{b}_{a}_1"]
    faces = table(groups, [0, 0, 1, 1] * 20)
    rows, held_out = split_by_group(faces, 0.15)
    identities = [
        {part for group in faces.groups[side] for part in group.split("/")[1].split("_")[1:-1]}
        for side in (rows, held_out)
    ]
    assert identities[1]
    assert not identities[0] & identities[1]


def test_a_split_does_not_depend_on_the_order_of_files():
    groups = [f"a/{index}" for index in range(50)]
    _, held_out = split_by_group(table(groups, [0] * 50), 0.2)
    _, reversed_held_out = split_by_group(table(groups[::-1], [0] * 50), 0.2)
    assert {groups[row] for row in held_out} == {groups[::-1][row] for row in reversed_held_out}


@settings(max_examples=20, deadline=None)
@given(temperature=st.floats(0.3, 4), bias=st.floats(-1, 1), seed=st.integers(0, 1000))
def test_calibration_finds_the_temperature_that_made_the_labels(temperature, bias, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2.5, 6000)
    fake = (rng.random(6000) < 1 / (1 + np.exp(-z))).astype(float)
    logit = (z - bias) * temperature
    fitted = fit_calibration(logit, fake, np.array(["a"] * 6000), "made")
    p = np.array([fitted.p_fake(value) for value in logit])
    assert ece(fake, p) < 0.06
    assert fitted.temperature == pytest.approx(temperature, rel=0.2)


def test_the_worst_source_decides_when_a_face_is_called_fake():
    rng = np.random.default_rng(0)
    logit = np.concatenate([rng.normal(-3, 1, 1000), rng.normal(-0.5, 1, 1000), rng.normal(3, 1, 2000)])
    fake = np.repeat([0.0, 0.0, 1.0], [1000, 1000, 2000])
    family = np.repeat(["easy", "hard", "fakes"], [1000, 1000, 2000])
    fitted = fit_calibration(logit, fake, family, "made")
    p = np.array([fitted.p_fake(value) for value in logit])
    for name in ("easy", "hard"):
        assert np.mean([fitted.verdict(value) == "fake" for value in p[family == name]]) <= MAX_FALSE_ALARMS + 0.005
    assert fitted.unsure_low <= fitted.threshold <= fitted.unsure_high


def test_a_score_that_tells_nothing_gives_no_verdict():
    rng = np.random.default_rng(3)
    fake = np.repeat([0.0, 1.0], 500)
    logit = rng.normal(size=1000) - 0.2 * fake  # the wrong way round, if anything
    fitted = fit_calibration(logit, fake, np.array(["a"] * 1000), "made")
    for value in (-5.0, 0.0, 5.0):
        assert fitted.verdict(fitted.p_fake(value)) == "unsure"
