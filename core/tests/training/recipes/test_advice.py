"""A poor or early best validation gets a word, with its cause and what to try."""

import pytest

from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.training.recipes.advice import advice

STEPS = TrainRecipe(phases=(Phase(steps=40, lr=1e-3),))
MINUTES = TrainRecipe(phases=(Phase(minutes=7.5),))
EPOCHS = TrainRecipe(phases=(Phase(epochs=1), Phase(epochs=5, lr={"head": 1e-3, "backbone": 1e-4})))


def history(*aucs):
    return [{"step": 20.0 * (number + 1), "auc": auc} for number, auc in enumerate(aucs)]


@pytest.mark.parametrize(
    ("aucs", "recipe", "expected"),
    [
        ((0.8, 0.9), STEPS, []),
        ((), STEPS, []),
        ((float("nan"),), STEPS, []),
        ((0.9,), STEPS, []),
        ((0.6, 0.65), STEPS, [r"0\.65, where 0\.5 is chance.*still rising.*--set phases\.0\.steps=80$"]),
        ((0.6, 0.65), EPOCHS, [r"--set phases\.1\.epochs=10$"]),
        ((0.6, 0.65), MINUTES, [r"--set phases\.0\.minutes=15$"]),
        ((0.5, 0.6, 0.5), STEPS, [r"too few.*--overfit 16.*add pictures"]),
        ((0.1, 0.2), STEPS, ["wrong way round.*labels are swapped"]),
        ((0.9, 0.8, 0.8), STEPS, [r"^the first of 3 validations is the best.*--set phases\.0\.lr=0\.0001"]),
        ((0.6, 0.5), STEPS, ["0\\.60", "first of 2"]),
    ],
)
def test_what_a_run_says(aucs, recipe, expected):
    import re

    said = advice(history(*aucs), recipe)
    assert len(said) == len(expected)
    for sentence, pattern in zip(said, expected, strict=True):
        assert re.search(pattern, sentence), sentence


def test_few_samples_trials_and_losses():
    assert "on 24 samples, which are few" in advice(history(0.5, 0.6, 0.5), STEPS, 24)[0]
    assert "worthless" in advice([{"step": 3.0, "auc": 0.4}], STEPS)[0]
    assert advice(history(0.4), STEPS.model_copy(update={"overfit": 8})) == ()
    by_loss = STEPS.model_copy(update={"monitor": "val_loss", "mode": "min"})
    rows = [{"step": 20.0, "val_loss": 0.1, "auc": 0.9}, {"step": 40.0, "val_loss": 0.3, "auc": 0.95}]
    assert "first of 2" in advice(rows, by_loss)[0]
