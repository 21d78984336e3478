"""The length of the runs that leave out one source each."""

from __future__ import annotations

import pytest

from deepfake_core.contract.recipe import Pairs, Phase, TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.leave_out.runs import shortened

TWO = TrainRecipe(phases=(Phase(epochs=3), Phase(epochs=1)))


def test_phases_share_the_length_as_they_did():
    assert shortened(TWO) == TWO
    assert [(phase.epochs, phase.steps) for phase in shortened(TWO, steps=100).phases] == [(None, 75), (None, 25)]
    assert [phase.minutes for phase in shortened(TWO, minutes=2.0).phases] == [1.5, 0.5]
    assert [phase.steps for phase in shortened(TWO, steps=1).phases] == [1, 1], "a phase has one step at least"


@pytest.mark.parametrize(
    ("recipe", "options", "said"),
    [
        (TWO, {"steps": 1, "minutes": 1.0}, "give one of them"),
        (TWO, {"minutes": 0.0}, "must be above 0"),
        (TrainRecipe(phases=(Phase(epochs=3), Phase(steps=1))), {"steps": 9}, r"epochs, steps.*--set phases\.0\.steps"),
        (TWO.model_copy(update={"pairs": Pairs(visits=3)}), {"minutes": 1.0}, r"--minutes 1: pairs\.visits needs"),
    ],
)
def test_a_length_that_cannot_be_is_refused(recipe, options, said):
    with pytest.raises(DeepfakeError, match=said):
        shortened(recipe, **options)
