"""The sample that needs no download (002-5)."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deepfake_core.datasets.layouts import sample
from deepfake_core.datasets.layouts.sample import SampleFaces
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.faces import FaceFinder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


def test_both_classes_in_every_split_and_many_groups(root: Path) -> None:  # 002-5
    samples = list(SampleFaces(root))
    assert Counter((s.split, s.is_fake) for s in samples) == {
        ("train", 0): 28, ("train", 1): 28, ("valid", 0): 8, ("valid", 1): 8, ("test", 0): 4, ("test", 1): 4,
    }  # fmt: skip
    assert len({s.group for s in samples}) == 40
    split_of: dict[str, str] = {}
    for one in samples:
        for person in one.identities:
            assert split_of.setdefault(person, one.split) == one.split, "no person is in two splits"


def test_every_picture_has_a_face(root: Path) -> None:
    finder = FaceFinder()
    for one in list(SampleFaces(root))[::5]:
        assert len(finder.find(decode(one.path).pixels)) == 1, one.name


def test_fakes_differ_from_their_originals(root: Path) -> None:
    pixels = {(s.group, s.is_fake): decode(s.path).pixels.astype(int) for s in SampleFaces(root)}
    for group in {group for group, _ in pixels}:
        change = abs(pixels[group, 0] - pixels[group, 1]).max(axis=2)
        assert change[100:200, 84:172].max() > 20
        assert change[:60].max() < 20, "only part of the face is changed"


def test_drawn_alike_and_once(root: Path, tmp_path: Path) -> None:
    first, again = list(SampleFaces(root)), list(open_dataset(f"sample:{tmp_path}"))
    assert [s.path.read_bytes() for s in first] == [s.path.read_bytes() for s in again]
    before = first[0].path.stat().st_mtime_ns
    assert next(iter(SampleFaces(root))).path.stat().st_mtime_ns == before


def test_drawn_by_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = np.zeros((256, 256, 3), np.uint8)
    monkeypatch.setattr(sample, "draw_face", lambda person, side: flat)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda root: list(SampleFaces(root)), [tmp_path] * 2))
    assert found[0] == found[1]
    assert all(one.path.stat().st_size for one in found[0])
    assert [path.name for path in tmp_path.iterdir()] == ["sample-1"], "nothing else stays behind"


def test_another_process_is_done_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "draw_face", lambda person, side: np.zeros((256, 256, 3), np.uint8))
    real_rename = os.rename

    def late(source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert all(one.path.stat().st_size for one in SampleFaces(tmp_path))
    assert sorted(path.name for path in (tmp_path / "sample-1").iterdir()) == ["fake", "real"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingDataError, match=r"the sample pictures cannot be written .* sample:FOLDER"):
        list(SampleFaces(tmp_path / "file"))
