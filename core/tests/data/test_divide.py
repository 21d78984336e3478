"""Tests of the division of a dataset: it is written, read back, and leaks nothing."""

from __future__ import annotations

import csv
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from layouts import write
from mini_sets import jpeg, pictures

from deepfake_core.data.check import check
from deepfake_core.data.divide import divide_dataset
from deepfake_core.data.leaks import find_leaks
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError


@pytest.fixture(scope="module")
def swaps(tmp_path_factory) -> Path:
    """Face swaps in the layout of FaceForensics++ sequences: 20 persons in pairs, and single pictures."""
    root = tmp_path_factory.mktemp("swaps")
    names = []
    for first in range(0, 20, 2):
        a, b = f"{first:03d}", f"{first + 1:03d}"
        names += [f"ff/real/youtube_{a}_0", f"ff/real/youtube_{b}_0"]
        names += [f"ff/fake/Deepfakes_{a}_{b}_0", f"ff/fake/FaceSwap_{b}_{a}_1"]
    files = [f"{name}/{frame}.jpg" for name in names for frame in range(2)]
    files += [f"web/{label}/{number}{label[0]}.jpg" for label in ("real", "fake") for number in range(20)]
    return write(root, {name: jpeg(number) for number, name in enumerate(files)})


def table(root: Path, *rows: tuple[object, ...]) -> Dataset:
    with (root / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "source", "group", "split", "identity"), *rows])
    return open_dataset(f"csv:{root / 't.csv'}?labels=1:real,0:fake")


def test_a_division_is_read_back_and_leaks_nothing(swaps, tmp_path):  # 003-8, resolution 7
    division = divide_dataset(ImageFolder(swaps), valid=0.2, test=0.2)
    division.write(tmp_path / "splits.csv")
    data = open_dataset(f"csv:{tmp_path / 'splits.csv'}?root={swaps}")
    read = sorted(data, key=lambda sample: sample.path)
    kept = sorted(division.samples, key=lambda sample: sample.path)
    for name in ("path", "is_fake", "source", "group", "split", "identities"):
        assert [getattr(sample, name) for sample in read] == [getattr(sample, name) for sample in kept]
    assert not find_leaks(read)
    assert check(data).fit
    counts = {(source, label): found for source, label, found in division.counts()}
    assert counts["web", "real"] == counts["web", "fake"] == {"train": 12, "valid": 4, "test": 4}
    assert counts["ff", "fake"] == {"train": 24, "valid": 8, "test": 8}
    assert not division.one_class()


def test_persons_stay_together_only_where_asked(swaps):
    def persons(by):
        placed = defaultdict(set)
        for sample in divide_dataset(ImageFolder(swaps), by=by).samples:
            for person in sample.identities:
                placed[person].add(sample.split)
        return max(map(len, placed.values()))

    assert persons("identity") == 1
    assert persons("group") > 1
    assert {leak.kind for leak in divide_dataset(ImageFolder(swaps), by="group").leaks} == {"identity"}


def test_whole_sources_can_be_held_out(tmp_path):
    root = pictures(tmp_path, 5, tuple("abcdef"))
    division = divide_dataset(ImageFolder(root), valid=1 / 6, test=1 / 6, by="source")
    placed = defaultdict(set)
    for sample in division.samples:
        placed[sample.source].add(sample.split)
    assert all(len(splits) == 1 for splits in placed.values())
    assert Counter(split for splits in placed.values() for split in splits) == {"train": 4, "valid": 1, "test": 1}


def test_copies_stay_together(tmp_path):
    root = pictures(tmp_path, 20)
    for number in range(10):
        shutil.copy(root / "a" / "real" / f"r{number}.jpg", root / "a" / "real" / f"z{number}.jpg")
    division = divide_dataset(ImageFolder(root), valid=0.3, test=0.3)
    assert division.ties == 10
    splits = {sample.path.name: sample.split for sample in division.samples}
    assert all(splits[f"r{number}.jpg"] == splits[f"z{number}.jpg"] for number in range(10))
    loose = divide_dataset(ImageFolder(root), valid=0.3, test=0.3, compare=False)
    assert loose.ties == 0
    splits = {sample.path.name: sample.split for sample in loose.samples}
    assert any(splits[f"r{number}.jpg"] != splits[f"z{number}.jpg"] for number in range(10))


def test_splits_that_the_dataset_brings_are_kept_or_refused(tmp_path):
    write(tmp_path, {f"{number}.jpg": jpeg(number) for number in range(40)})
    rows = [(f"{number}.jpg", number % 2, "s", f"g{number}", "test" if number < 10 else "", "") for number in range(40)]
    splits = [sample.split for sample in divide_dataset(table(tmp_path, *rows), valid=0.2).samples]
    assert splits[:10] == ["test"] * 10
    assert Counter(splits[10:]) == {"train": 24, "valid": 6}
    leaking = [*rows[:-1], ("39.jpg", 1, "s", "g0", "train", "")]
    with pytest.raises(TrainingDataError, match=r"group g0 \(test: 0.jpg, train: 39.jpg\).*--ignore-splits"):
        divide_dataset(table(tmp_path, *leaking))
    shared = [*rows[:-1], ("39.jpg", 1, "s", "g39", "train", "anna")]
    shared[0] = ("0.jpg", 0, "s", "g0", "test", "anna")
    with pytest.raises(TrainingDataError, match=r"identity anna .*; accept it by --by group"):
        divide_dataset(table(tmp_path, *shared))
    by_group = divide_dataset(table(tmp_path, *shared), by="group")  # as with the test list of Celeb-DF v2
    assert [sample.split for sample in by_group.samples[:10]] == ["test"] * 10
    assert [leak.name for leak in by_group.leaks] == ["anna"]
    anew = divide_dataset(table(tmp_path, *leaking), keep=False)
    assert not anew.leaks
    assert {sample.split for sample in anew.samples} == {"train", "valid", "test"}


def test_what_cannot_be_divided_says_why(tmp_path, swaps, monkeypatch):
    with pytest.raises(TrainingDataError, match="nothing to train on"):
        divide_dataset(ImageFolder(swaps), valid=0.6, test=0.4)
    root = pictures(tmp_path / "set", 1)
    division = divide_dataset(ImageFolder(root))
    assert division.one_class() == ["test", "valid"]
    (root / "a" / "real" / "line\nbreak.jpg").write_bytes(jpeg(9))
    with pytest.raises(TrainingDataError, match="rename"):
        divide_dataset(ImageFolder(root)).write(tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    (root / "a" / "real" / "copy.jpg").write_bytes(jpeg(9))
    monkeypatch.setattr("deepfake_core.data.divide.digest", denied)
    with pytest.raises(TrainingDataError, match=r"\.jpg: cannot be read \(Permission denied\)"):
        divide_dataset(ImageFolder(root))
    (root / "a" / "real" / "gone.jpg").symlink_to("nowhere")
    with pytest.raises(TrainingDataError, match=r"gone\.jpg: cannot be read"):
        divide_dataset(ImageFolder(root))


def test_members_of_archives_are_refused(tmp_path):
    import tarfile

    root = pictures(tmp_path / "set", 1)
    with tarfile.open(tmp_path / "x-000.tar", "w") as archive:
        for path in sorted(root.rglob("*.jpg")):
            archive.add(path, f"{path.parent.name}-{path.name}")
            (path.with_suffix(".cls")).write_text(str(int(path.parent.name == "fake")))
            archive.add(path.with_suffix(".cls"), f"{path.parent.name}-{path.stem}.cls")
    with pytest.raises(TrainingDataError, match=r"lies in an archive.*prepare"):
        divide_dataset(open_dataset(f"shards:{tmp_path}?labels=0:real,1:fake"))
