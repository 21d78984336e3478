"""Splits that share no identity, and calibration that means what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_core.data.splits import families, held_out
from deepfake_core.datasets.labels import sequence_identities
from deepfake_core.evaluation.calibration import MAX_FALSE_ALARMS, fit_calibration
from deepfake_core.evaluation.metrics import ece

pytestmark = pytest.mark.torch


def split_by_group(groups: list[str], share: float) -> tuple[list[int], list[int]]:
    """Rows for training and for validation of rows whose source is the first part of their group."""
    found = held_out(
        families(groups, [sequence_identities(group) for group in groups]),
        [group.split("/")[0] for group in groups],
        share,
    )
    return np.flatnonzero(~found).tolist(), np.flatnonzero(found).tolist()


def test_groups_are_never_divided_and_every_source_is_held_out():
    groups = [f"{source}/{index // 4}" for source in ("a", "b") for index in range(80)]
    rows, held = split_by_group(groups, 0.2)
    assert sorted([*rows, *held]) == list(range(160))
    assert not {groups[row] for row in rows} & {groups[row] for row in held}
    assert {groups[row][0] for row in held} == {"a", "b"}
    assert 0.1 < len(held) / 160 < 0.3


def test_face_swaps_stay_with_both_identities():
    groups = []
    for first in range(0, 40, 2):
        a, b = f"{first:03d}", f"{first + 1:03d}"
        groups += [f"ff/youtube_{a}_0", f"ff/youtube_{b}_1", f"ff/Deepfakes_{a}_{b}_0", f"ff/FaceSwap_{b}_{a}_1"]
    identities = [
        {part for row in side for part in groups[row].split("/")[1].split("_")[1:-1]}
        for side in split_by_group(groups, 0.15)
    ]
    assert identities[1]
    assert not identities[0] & identities[1]


def test_a_split_does_not_depend_on_the_order_of_files():
    groups = [f"a/{index}" for index in range(50)]
    _, held = split_by_group(groups, 0.2)
    _, of_reversed = split_by_group(groups[::-1], 0.2)
    assert {groups[row] for row in held} == {groups[::-1][row] for row in of_reversed}


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
