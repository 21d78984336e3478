"""The gate on judgement, and what it says of too few pictures."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_core.errors import ParityError
from deepfake_exports.parity import LEAST_OF_EACH, MAX_AUC_CHANGE, Change, gate_changes, too_few

HELD, MISSED = Change(auc=MAX_AUC_CHANGE, p=0.0), Change(auc=MAX_AUC_CHANGE + 1e-4, p=0.0)


def labels(real, fake):
    return np.repeat(np.array([0, 1]), [real, fake])


def test_one_of_enough_pictures_cannot_decide():
    assert 0.25 / LEAST_OF_EACH <= MAX_AUC_CHANGE < 0.25 / (LEAST_OF_EACH - 1)


@pytest.mark.parametrize(("real", "fake"), [(LEAST_OF_EACH - 1, 500), (500, 20)])
def test_too_few_pictures_of_a_class_are_told_and_the_verdict_stays(real, fake):
    said = f"on {real} real and {fake} fake pictures a single one can move the AUC by more than 0.005; take at least 50"
    assert too_few(labels(real, fake)).startswith(said)
    gate_changes("m.onnx (int8)", {"": HELD}, labels(real, fake))
    with pytest.raises(ParityError, match=f"on {real + fake} pictures; {said} of each"):
        gate_changes("m.onnx (int8)", {"": MISSED}, labels(real, fake))


def test_nothing_is_said_where_pictures_are_enough_or_the_auc_does_not_count():
    assert not too_few(labels(LEAST_OF_EACH, LEAST_OF_EACH))
    gate_changes("m.onnx (int8)", {"": HELD}, labels(LEAST_OF_EACH, LEAST_OF_EACH))
    gate_changes("m.onnx (int8)", {"": Change(auc=1.0, p=0.0, auc_counts=False)}, labels(2, 2))
    with pytest.raises(ParityError, match=r"on 100 pictures\); nothing written"):
        gate_changes("m.onnx (int8)", {"": MISSED}, labels(LEAST_OF_EACH, LEAST_OF_EACH))
    with pytest.raises(ParityError, match=r"on 4 pictures\); nothing written"):
        gate_changes("m.onnx (int8)", {"": Change(auc=0.0, p=1.0, auc_counts=False)}, labels(2, 2))
