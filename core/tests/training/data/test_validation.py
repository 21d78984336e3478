"""What is measured on validation data, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from tiny_run import Bright

from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data import validation
from deepfake_core.training.data.validation import (
    ValidationSet,
    validation_logits,
    validation_metrics,
    validation_outputs,
)

pytestmark = pytest.mark.torch


def made(fake, family=None, images=None):
    fake = np.array(fake, np.float32)
    family = np.array(["a"] * len(fake) if family is None else family)
    images = np.zeros((len(fake), 8, 8, 3), np.uint8) if images is None else images
    return ValidationSet(images, fake, family, [f"{index}.png" for index in range(len(fake))])


def test_metrics_are_scikit_learns():  # 003-9
    rng = np.random.default_rng(0)
    fake = rng.integers(0, 2, 200)
    logit = rng.normal(fake - 0.5, 1.0)
    p_fake = 1 / (1 + np.exp(-logit))
    measured = validation_metrics(logit, made(fake))
    assert measured["auc"] == pytest.approx(reference.roc_auc_score(fake, logit))
    assert measured["pr_auc"] == pytest.approx(reference.average_precision_score(fake, logit))
    assert measured["acc"] == pytest.approx(reference.accuracy_score(fake, p_fake >= 0.5))
    assert measured["precision"] == pytest.approx(reference.precision_score(fake, p_fake >= 0.5))
    assert measured["recall"] == pytest.approx(reference.recall_score(fake, p_fake >= 0.5))
    assert measured["f1"] == pytest.approx(reference.f1_score(fake, p_fake >= 0.5))
    assert measured["val_loss"] == pytest.approx(reference.log_loss(fake, p_fake))


def test_families_count_alike_in_the_mean():
    fake = [0, 1, 0, 1, 1]
    measured = validation_metrics(np.array([0.0, 1.0, 2.0, 1.0, 5.0]), made(fake, ["a", "a", "b", "b", "fakes"]))
    assert (measured["auc_a"], measured["auc_b"]) == (1.0, 0.0)
    assert measured["auc_mean"] == 0.5
    assert "auc_fakes" not in measured  # one class only


def test_one_class_cannot_validate():
    made([0, 1]).check()
    with pytest.raises(TrainingDataError, match="has fakes only; raise validation_share"):
        made([1, 1]).check()
    with pytest.raises(TrainingDataError, match="has real faces only"):
        made([0]).check()
    with pytest.raises(TrainingDataError, match="is empty"):
        made([]).check()


def test_scores_do_not_depend_on_batches():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    model = WithPreprocess(Bright().build(), Bright.preprocess).train()
    torch.testing.assert_close(
        validation_logits(model, images, 3), validation_logits(model, images, 64), rtol=1e-5, atol=1e-6
    )
    assert model.training, "the mode is what it was"


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_strongest_place_of_every_image(batch_size: int) -> None:
    class Cells(torch.nn.Module):
        """Its evidence map is the red channel."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images.float().mean((1, 2, 3)), images[..., 0].float()

    images = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    logit, strongest = validation_outputs(Cells(), images, batch_size, evidence=True)
    np.testing.assert_array_equal(strongest, images[..., 0].max((1, 2)))
    np.testing.assert_allclose(logit, images.mean((1, 2, 3)), rtol=1e-6)


def test_a_cpu_validates_in_full_precision_as_the_package_computes():
    images = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    model = WithPreprocess(Bright().build(), Bright.preprocess)
    exact = validation_logits(model, images)
    np.testing.assert_array_equal(validation_logits(model, images, precision="bf16"), exact)


def test_more_processes_than_batches(monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    model = WithPreprocess(Bright().build(), Bright.preprocess)
    parts = []
    monkeypatch.setattr(
        validation, "gather_object", lambda part: parts.extend(part) or parts or [(0, np.zeros((1, 1)))]
    )
    for rank in (2, 1, 0):
        found = validation_logits(model, images, 4, rank=rank, processes=3)
    torch.testing.assert_close(found, validation_logits(model, images), rtol=1e-5, atol=1e-6)
