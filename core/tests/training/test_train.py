"""Training of a loaded detector: from the initial weights, or from those of a model that is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from crop_stores import write_faces

from deepfake_core import load
from deepfake_core.contract.recipe import Phase, Schedule, TrainRecipe
from deepfake_core.errors import DeepfakeError, TrainingDataError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.training.train import train_detector

pytestmark = pytest.mark.torch

# One step with a learning rate that changes hardly anything: the weights are those that the run started from.
STILL = TrainRecipe(
    phases=(Phase(steps=1, lr=1e-9, schedule=Schedule(name="constant", warmup=0.0)),), batch_size=4, ema=0.0,
    workers=0, validation_share=0.5, explain=0, channels_last=False, samples="pictures",
)  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces") / "data", 6, 6)


def same_weights(one: LoadedDetector, other: LoadedDetector) -> bool:
    mine, theirs = one.network.state_dict(), other.network.state_dict()
    return all(torch.allclose(mine[name], theirs[name], atol=1e-6) for name in mine)


def test_training_starts_from_initial_weights_or_a_model_and_is_not_lost_where_it_cannot_be_recorded(
    tiny: Path, faces: Path, tmp_path: Path
) -> None:
    detector = load("tiny")
    before = {name: value.clone() for name, value in detector.network.state_dict().items()}
    options = {"device": "cpu", "track": (), "cache_dir": tmp_path / "cache"}
    unwritable = tmp_path / ".model_metadata.json.lock"
    unwritable.mkdir()
    anew = train_detector(detector, faces, STILL, tmp_path / "anew", **options)
    assert "is complete, but is not in the record of runs" in (tmp_path / "anew" / "run.log").read_text()
    unwritable.rmdir()
    assert anew.manifest.weights == "trained"
    assert not same_weights(anew, detector)
    on = detector.train(faces, STILL, tmp_path / "on", start=detector, minutes=600, **options)
    assert same_weights(on, detector)
    taken = {"steps": 1, "images": 4, "bit_reproducible": True}
    assert anew.manifest.training["taken"] == taken
    assert on.manifest.training["taken"] == {**taken, "bit_reproducible": False}
    assert json.loads((tmp_path / "on" / "metrics.json").read_text())["training"]["seconds"] > 0
    assert "the model will be packaged by " in (tmp_path / "on" / "run.log").read_text()
    assert all(torch.equal(value, before[name]) for name, value in detector.network.state_dict().items())
    assert "start: tiny " in (tmp_path / "on" / "config.yaml").read_text()
    wide = load("tiny", untrained=True, config={"width": 4})
    with pytest.raises(DeepfakeError, match="another network than the one to train"):
        wide.train(faces, STILL, tmp_path / "wide", start=detector, **options)
    # The package says what it was trained on, and no later run validates on it.
    known = anew.training_groups
    assert known is not None
    assert known.complete
    assert len(known.trained) + len(known.validated) == 6
    assert len(known.trained_files) == 2 * len(known.trained), "the files were read when their faces were cut"
    assert not list((tmp_path / "anew").glob("*groups*")), "the list is in the package alone"
    assert on.training_groups is not None
    assert on.training_groups.complete == (detector.manifest.weights == "untrained")
    more = STILL.model_copy(update={"validation_share": 0.9})
    with pytest.raises(TrainingDataError, match=r"was trained on \d of the \d+ groups of the validation.*--allow-seen"):
        anew.train(faces, more, tmp_path / "refused", start=anew, **options)
    copies = Path(shutil.copytree(faces, tmp_path / "copies"))  # other groups, the same files
    with pytest.raises(TrainingDataError, match=r"groups of the validation data, such as copies/"):
        anew.train(copies, more, tmp_path / "copied", start=anew, **options)
