"""Whether a model was trained on the data by which it is to be judged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepfake_core.data.seen import refuse_seen, seen_by
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.discovery.training_groups import Seen, TrainingGroups, hash_of_file
from deepfake_core.errors import TrainingDataError


def model(groups: TrainingGroups | None) -> Any:
    return SimpleNamespace(training_groups=groups)


@pytest.fixture
def data(tmp_path: Path) -> ImageFolder:
    for label, names in {"real": "ab", "fake": "cd"}.items():
        (tmp_path / "set" / label).mkdir(parents=True)
        for name in names:
            (tmp_path / "set" / label / f"{name}.png").write_bytes(name.encode())
    return ImageFolder(tmp_path / "set")


def test_renamed_copies_are_found_by_their_bytes(data: ImageFolder) -> None:
    copy = hash_of_file(hashlib.sha256(b"d").hexdigest())
    by_name = model(TrainingGroups.of(["set/a"], ["set/b"]))
    by_bytes = model(TrainingGroups.of(["other/x", "set/a"], [], [copy]))
    none, first, second, nothing = seen_by([model(None), by_name, by_bytes, model(TrainingGroups.of([], []))], data)
    assert not none.known
    assert (first.count, first.total, first.validated) == (1, 4, 1)
    assert (second.count, set(second.names)) == (2, {"set/a", "set/d"})
    assert (nothing.count, nothing.known) == (0, True)


def test_data_that_a_model_has_seen_are_refused_unless_they_are_allowed() -> None:
    def said(seen: Seen, **options: bool) -> str:
        return refuse_seen("lite 1", seen, "faces", "calibrating", "name other data", **options)

    assert said(Seen(0, 10)) == ""
    with pytest.raises(TrainingDataError, match=r"lite 1 was trained on 3 of the 1,000 groups of faces, such as a/1: .*"
                       r"name other data, or allow it by --allow-seen"):  # fmt: skip
        said(Seen(3, 1000, ("a/1", "a/2", "a/3")))
    assert "better than on others" in said(Seen(3, 1000, ("a/1",)), allow_seen=True)
    assert "does not say what it was trained on" in said(Seen(0, 0, known=False))
    assert "does not say all" in said(Seen(0, 10, complete=False))
    assert "calibrated on 2 of the 10 groups" in said(Seen(0, 10, validated=2))
