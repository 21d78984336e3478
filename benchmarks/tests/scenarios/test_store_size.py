"""Large crop stores: training opens, splits and samples them without an object for each row."""

import numpy as np
import pytest
import store_size
from store_size import STEPS, measure, write_store

from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.checks import check_classes
from deepfake_core.training.pairs import faces

pytestmark = pytest.mark.torch

LIMIT = 150
"""Most bytes of memory that a row may take."""


def test_no_step_takes_much_memory_for_a_row(tmp_path, monkeypatch):
    for name in ("SAMPLES", "CHUNKS"):
        monkeypatch.setattr(store_size, name, 5)
    monkeypatch.setattr(faces, "_BLOCK", 500)
    small, large = (
        measure(write_store(tmp_path / str(rows), rows), tmp_path / f"cache{rows}") for rows in (2000, 12000)
    )
    for step in STEPS:
        # What does not grow with the rows, such as modules that are imported, is in both.
        peak, kept = ((large[step][place] - small[step][place]) / 10000 for place in (1, 2))
        assert kept < LIMIT, step
        assert peak < LIMIT, step
    assert (large["open"][1] - small["open"][1]) / 10000 < 1


def test_a_store_counts_its_classes_without_listing_its_samples(tmp_path):
    dataset = StoredCrops(write_store(tmp_path / "store", 200))
    listed = StoredCrops.__mro__[1].counts(dataset)
    assert dataset.counts() == listed
    assert dataset.counts().total() == 200
    for split in ("", "train", "valid", "test"):
        assert list(dataset.of_split(split)) == [sample for sample in dataset if sample.split == split]
    check_classes(dataset, (False, True))
    np.save(tmp_path / "store" / "index" / "fake.npy", np.zeros(200, np.int8))
    with pytest.raises(TrainingDataError, match="holds no fake pictures to train on"):
        check_classes(StoredCrops(tmp_path / "store"), (False, True))
    assert CropStore(tmp_path / "store").points.shape[0] == 200
