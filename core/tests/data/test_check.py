"""Tests of the check of a dataset: its findings and their levels."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from layouts import write
from media import grey_frames, video_bytes
from mini_sets import jpeg, pictures

from deepfake_core.data.check import CheckReport, check
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError


class Listed(Dataset):
    """Dataset of given samples, for cases that no layout lets through."""

    def __init__(self, root: Path, *samples: Sample) -> None:
        super().__init__(root)
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)


def found(report: CheckReport, level: str) -> list[str]:
    return [str(finding) for finding in report.findings if finding.level == level]


def table(root: Path, *rows: tuple[object, ...]) -> Dataset:
    """Return a CSV dataset with the columns ``path label group split identity``."""
    with (root / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "group", "split", "identity"), *rows])
    return open_dataset(f"csv:{root / 't.csv'}?labels=1:real,0:fake")


def test_a_good_dataset_is_fit(tmp_path):
    report = check(ImageFolder(pictures(tmp_path, 3, ("a", "b"))))
    assert report.fit
    assert not report.findings
    assert (report.samples, report.examined) == (12, 12)
    assert [(cell.source, cell.label, cell.samples, cell.groups) for cell in report.cells] == [
        ("a", "fake", 3, 3), ("a", "real", 3, 3), ("b", "fake", 3, 3), ("b", "real", 3, 3),
    ]  # fmt: skip
    assert report.to_dict()["fit"] is True


def test_unreadable_files_are_listed_and_too_many_are_an_error(tmp_path):  # 001-26, resolution 14, 004-7
    data = ImageFolder(pictures(tmp_path, 10))
    (tmp_path / "a" / "real" / "r3.jpg").write_bytes(jpeg(5, 200)[:-700])
    report = check(data, max_bad=0.1)
    assert report.fit
    assert [name for name, _ in report.unreadable] == ["a/real/r3.jpg"]
    assert "1 of 20 files cannot be read: a/real/r3.jpg (damaged" in found(report, "warning")[0]
    strict = check(data)
    assert not strict.fit
    assert "more than 1.0%" in found(strict, "error")[0]
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"nothing")
    assert "none of them can be read" in found(check(data, max_bad=1.0), "error")[0]


def test_a_file_that_is_gone_is_named(tmp_path):
    write(tmp_path, {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    report = check(table(tmp_path, ("a.jpg", 1, "", "", ""), ("b.jpg", 0, "", "", ""), ("c.jpg", 0, "", "", "")))
    assert report.unreadable[0][0] == "c.jpg"


@pytest.mark.parametrize(("row", "words"), [(("../x.jpg", 1), "outside"), (("a.jpg", 7), "label '7'")])
def test_wrong_rows_end_it(tmp_path, row, words):  # resolution 1
    write(tmp_path, {"a.jpg": jpeg(1)})
    with pytest.raises(TrainingDataError, match=words):
        check(table(tmp_path, (*row, "", "", "")))


def test_duplicates_are_pointed_out(tmp_path):
    files = {f"a/{label}/{label}{number}.jpg": jpeg(number) for number in range(3) for label in ("real", "fake")}
    files |= {"a/fake/copy.jpg": jpeg(0), "a/fake/only.jpg": jpeg(7), "a/fake/twin.jpg": jpeg(7)}
    report = check(ImageFolder(write(tmp_path, files)))
    assert not report.fit
    # In the order of the dataset: the first file with the same bytes is reported as the original of the others.
    assert found(report, "error") == [
        "3 pairs of files have the same bytes but different labels; remove one: a/fake/copy.jpg = a/real/real0.jpg, "
        "a/fake/fake1.jpg = a/real/real1.jpg, a/fake/fake2.jpg = a/real/real2.jpg"
    ]
    assert found(report, "warning") == [
        "2 pairs of files have the same bytes: a/fake/copy.jpg = a/fake/fake0.jpg, a/fake/only.jpg = a/fake/twin.jpg"
    ]


def test_rows_that_repeat_or_contradict_are_counted(tmp_path):
    paths = sorted(write(tmp_path, {f"{n}.jpg": jpeg(n) for n in range(3)}).iterdir())
    rows = [(0, 0), (1, 1), (2, 1), (1, 1), (2, 0)]
    report = check(Listed(tmp_path, *(Sample(paths[number], bool(fake), "s", f"g{number}") for number, fake in rows)))
    assert found(report, "error") == ["1 files are listed as real and as fake; correct their labels: 2.jpg"]
    assert found(report, "warning") == ["1 files are listed twice: 1.jpg"]


def test_a_leaking_split_is_an_error(tmp_path):  # resolution 7
    write(tmp_path, {f"{number}.jpg": jpeg(number) for number in range(6)} | {"copy.jpg": jpeg(5)})
    report = check(
        table(
            tmp_path,
            ("0.jpg", 1, "g1", "train", "anna"),
            ("1.jpg", 0, "g1", "test", ""),
            ("2.jpg", 0, "g2", "train", "bob"),
            ("3.jpg", 1, "g3", "test", "bob;carl"),
            ("4.jpg", 0, "g4", "", "anna"),
            ("5.jpg", 1, "g5", "train", ""),
            ("copy.jpg", 1, "g6", "test", ""),
        )
    )
    groups, persons, files = found(report, "error")
    assert groups.startswith("1 groups (videos or sequences) are in two splits")
    assert groups.endswith(": group g1 (train: 0.jpg, test: 1.jpg)")
    assert persons.endswith(": identity bob (train: 2.jpg, test: 3.jpg)")
    assert files.endswith("(train: 5.jpg, test: copy.jpg)")
    assert report.identities == 3


def test_videos_of_equal_bytes_are_found_without_hashing_all(tmp_path, monkeypatch):
    clips = [video_bytes(grey_frames(count), codec="mpeg4") for count in (5, 9)]
    write(tmp_path, {"real/a.mp4": clips[0], "real/c.mp4": clips[1], "fake/b.mp4": clips[0]})
    from deepfake_core.data import check as module

    hashed: list[Path] = []
    digest = module.digest
    monkeypatch.setattr(module, "digest", lambda path: hashed.append(path) or digest(path))
    report = check(ImageFolder(tmp_path))
    assert found(report, "error") == [
        "1 pairs of files have the same bytes but different labels; remove one: fake/b.mp4 = real/a.mp4"
    ]
    assert [path.name for path in hashed] == ["b.mp4", "a.mp4"]


def test_missing_classes_are_pointed_out(tmp_path):
    assert found(check(ImageFolder(write(tmp_path / "one", {"real/a.jpg": jpeg(1)}))), "warning") == [
        "the dataset has no usable fake sample; accuracy cannot be measured on it"
    ]
    write(tmp_path, {f"{number}.jpg": jpeg(number) for number in range(4)})
    rows = [("0.jpg", 1, "a", "train", ""), ("1.jpg", 0, "b", "train", ""), ("2.jpg", 1, "c", "valid", "")]
    report = check(table(tmp_path, *rows))
    assert found(report, "error") == [
        "the split 'valid' has no usable fake sample; divide the dataset anew by dfbench data split"
    ]
    (tmp_path / "3.jpg").write_bytes(b"broken")  # an unreadable file does not count as a sample
    assert not check(table(tmp_path, *rows, ("3.jpg", 0, "d", "valid", "")), max_bad=1.0).fit


def test_pictures_that_look_the_same_in_two_splits_are_counted(tmp_path):
    pytest.importorskip("imagehash")
    write(tmp_path, {"0.jpg": jpeg(0), "1.jpg": jpeg(1), "2.jpg": jpeg(2), "again.jpg": jpeg(0, 64, quality=50)})
    splits = {"0": "train", "1": "train", "2": "test", "again": "test"}
    data = table(
        tmp_path, *((f"{name}.jpg", number % 2, name, split, "") for number, (name, split) in enumerate(splits.items()))
    )
    report = check(data, near=True)
    assert report.fit
    warning = found(report, "warning")
    assert len(warning) == 1
    assert warning[0].startswith("1 pairs of pictures in different splits look the same: 0.jpg ~ again.jpg (")
    assert not check(data).findings


def test_only_a_part_may_be_looked_into(tmp_path):  # 004-7
    report = check(ImageFolder(pictures(tmp_path, 10)), max_images=4)
    assert (report.samples, report.examined) == (20, 4)
    assert report.fit


def test_no_samples_at_all_is_an_error(tmp_path):
    with pytest.raises(TrainingDataError, match="no samples"):
        check(Listed(tmp_path))
