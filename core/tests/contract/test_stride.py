"""The distance between a clip's frames is called stride in Python, and ``skip`` in every file that is stored."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from pydantic import ConfigDict, Field

from deepfake_core.contract.detector import DetectorConfig
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.changes import changed
from deepfake_registry.manifest import Clip, ModelManifest, Normalize, PreprocessSpec, Resize

STORED = '{"clip":{"length":10,"skip":3},"crop":{"kind":"whole_image"},'


class Renamed(DetectorConfig):
    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    stride: int = Field(3, gt=0, alias="skip")


def test_stored_files_say_skip():
    spec = PreprocessSpec.model_validate(
        {
            "clip": {"length": 10, "skip": 3},
            "crop": {"kind": "whole_image"},
            "resize": Resize(height=64, width=64),
            "normalize": Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        }
    )
    assert spec.clip == Clip(length=10, stride=3)
    assert spec.model_dump()["clip"] == spec.model_dump(mode="json")["clip"] == {"length": 10, "skip": 3}
    assert spec.model_dump_json().startswith(STORED)
    assert PreprocessSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_shipped_manifest_is_written_as_it_was_read():
    pytest.importorskip("deepfake_lite")
    stored = json.loads((resources.files("deepfake_lite") / "weights" / "manifest.json").read_text(encoding="utf-8"))
    assert stored["training"]["clip"] == {"length": 10, "skip": 3}
    written = json.loads(ModelManifest.model_validate(stored).model_dump_json())
    assert written["training"] == stored["training"]
    assert written["preprocess"] == {"clip": None, **stored["preprocess"]}


def test_a_change_under_the_name_of_stored_files_warns():
    with pytest.warns(FutureWarning, match="skip is called stride now; write stride=2"):
        assert changed(Renamed(), ["skip=2"]) == Renamed(stride=2)
    assert changed(Renamed(), ["stride=2"]).model_dump() == {"skip": 2}
    with pytest.raises(DeepfakeError, match="unknown setting strid; did you mean stride"):
        changed(Renamed(), ["strid=2"])
