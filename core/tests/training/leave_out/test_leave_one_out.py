"""Each source left out in turn: runs that go on, sources that cannot be left out, and what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deepfake_core as df
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.errors import DeepfakeError, TrainingDataError
from deepfake_core.testing import draw_face
from deepfake_core.training.leave_out import runs
from deepfake_core.training.leave_out.figures import Scores
from deepfake_core.training.leave_out.results import LeaveOneOut, read_results
from deepfake_core.training.runs.listing import find_runs

pytestmark = pytest.mark.torch

RECIPE = TrainRecipe(
    phases=(Phase(steps=1, lr=1e-3),), batch_size=4, workers=0, validation_share=0.5, channels_last=False, pretrained=False
)


def write_sources(folder: Path, counts: dict[str, int]) -> Path:
    """Faces of several sources: ``{"a/real": 4}``; each picture is a group."""
    number = 0
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True)
        for _ in range(count):
            Image.fromarray(draw_face(number, 120)).save(folder / kind / f"{number}.png")
            number += 1
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"a/real": 4, "a/fake": 4, "made/fake": 5, "taken/real": 5}
    return write_sources(tmp_path_factory.mktemp("faces") / "data", counts)


def test_each_source_is_left_out_in_turn(tiny: Path, faces: Path, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "runs"
    options = {"device": "cpu", "track": (), "cache_dir": tmp_path / "cache"}
    found = df.leave_one_out("tiny", faces, folder, RECIPE, **options)
    rows = {row.source: row for row in found.sources}
    print(found.to_dict())
    assert found.complete
