"""One rule on hidden files, order and links for the two that walk folders: inputs and datasets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepfake_core.datasets.files import files_below
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.folders import walk_folder
from deepfake_core.inputs.sources import by_number, expand


def as_inputs(folder):
    return [os.path.relpath(source.name, folder) for source in expand(folder)]


def as_dataset(folder):
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def make(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


@pytest.fixture(params=[as_inputs, as_dataset])
def listed(request):
    return request.param


def test_a_linked_folder_and_a_linked_file_are_followed(tmp_path, listed):
    make(tmp_path / "disk", "x/1.jpg", "2.jpg")
    tree = make(tmp_path / "tree", "a/0.jpg")
    (tree / "b").symlink_to(tmp_path / "disk" / "x")
    (tree / "c.jpg").symlink_to(tmp_path / "disk" / "2.jpg")
    assert sorted(listed(tree)) == ["a/0.jpg", "b/1.jpg", "c.jpg"]


def test_a_folder_is_entered_once_whatever_links_lead_to_it(tmp_path, listed):
    make(tmp_path / "disk", "1.jpg")
    tree = make(tmp_path / "tree", "z/0.jpg")
    for name, target in (("one", tmp_path / "disk"), ("two", tmp_path / "disk"), ("up", tree), ("zz", tree / "z")):
        (tree / name).symlink_to(target)
    (tree / "self").symlink_to(tree / "self")
    assert [name for name in listed(tree) if name != "self"] == ["one/1.jpg", "z/0.jpg"]


def test_hidden_files_and_folders_are_left_out(tmp_path, listed):
    assert listed(make(tmp_path, "a.jpg", ".b.jpg", ".c/d.jpg", "e/.f/g.jpg")) == ["a.jpg"]


def test_the_two_orders(tmp_path):
    tree = make(tmp_path, "b/1.jpg", "a.jpg", "c.jpg")
    assert as_inputs(tree) == ["a.jpg", "c.jpg", "b/1.jpg"]
    assert as_dataset(tree) == ["a.jpg", "b/1.jpg", "c.jpg"]


def test_files_of_one_folder_come_in_one_list(tmp_path):
    tree = make(tmp_path, "b/1.jpg", "a.jpg", "c.jpg", "10.jpg", "9.jpg")
    found = list(walk_folder(str(tree), by_number, files_first=True))
    assert found == [(str(tree), ["9.jpg", "10.jpg", "a.jpg", "c.jpg"]), (str(tree / "b"), ["1.jpg"])]


def test_folders_keep_the_form_in_which_the_first_one_was_named(tmp_path, monkeypatch):
    make(tmp_path, "set/b/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert list(walk_folder("./set/")) == [("./set/b", ["1.jpg"])]
    assert list(files_below(Path("set"))) == [Path("set/b/1.jpg")]
    monkeypatch.chdir(tmp_path / "set" / "b")
    assert list(files_below(Path())) == [Path("1.jpg")]


def test_a_link_to_a_folder_that_contains_the_dataset_is_a_loop(tmp_path):
    """Otherwise the fakes would come in among the real files, wherever the class folder itself lies."""
    root = make(tmp_path / "set", "fake/1.jpg", "real/2.jpg")
    make(tmp_path / "disk", "other/3.jpg")
    (root / "linked").symlink_to(tmp_path / "disk" / "other")
    for folder in ("real", "linked"):
        (root / folder / "up").symlink_to(root)
        (root / folder / "further").symlink_to(tmp_path)
    assert as_dataset(root / "real") == ["2.jpg"]
    assert as_dataset(root / "linked") == ["3.jpg"]


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    tree = make(tmp_path, "a/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert as_inputs(tree) == ["b/2.jpg"]
    with pytest.raises(TrainingDataError, match=r"a: cannot be listed \(Permission denied\)"):
        as_dataset(tree)
