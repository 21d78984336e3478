"""Tests of manifests: the sha256 of every file is written and verified."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile

import pytest
from mini_sets import Tar, jpeg, pictures

from deepfake_core.data.manifest import (
    COLUMNS,
    entries,
    hash_of,
    held_out_hashes,
    manifest_hash,
    read_manifest,
    verify,
    write_manifest,
)
from deepfake_core.datasets.formats.csv_table import CsvTable
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError


def test_a_manifest_lists_every_file_and_is_verified(tmp_path):  # 001-32
    data = ImageFolder(pictures(tmp_path / "set"))
    count, digest = write_manifest(data, tmp_path / "m.csv")
    assert count == 8
    written = list(read_manifest(tmp_path / "m.csv"))
    first = tmp_path / "set" / "a" / "fake" / "f0.jpg"
    assert (written[0].path, written[0].label, written[0].source) == ("a/fake/f0.jpg", "fake", "a")
    assert written[0].sha256 == hashlib.sha256(first.read_bytes()).hexdigest()
    assert written[0].bytes == str(first.stat().st_size)
    assert str(tmp_path) not in (tmp_path / "m.csv").read_text()
    assert verify(data, tmp_path / "m.csv")[:2] == (8, digest)
    assert not verify(data, tmp_path / "m.csv")[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "set"]


def test_changed_missing_added_and_moved_files_are_named(tmp_path):  # 001-32
    root = pictures(tmp_path / "set")
    _, digest = write_manifest(ImageFolder(root), tmp_path / "m.csv")
    status = (root / "a" / "fake" / "f0.jpg").stat()
    changed = bytearray((root / "a" / "fake" / "f0.jpg").read_bytes())
    changed[-5] ^= 1
    (root / "a" / "fake" / "f0.jpg").write_bytes(changed)
    os.utime(root / "a" / "fake" / "f0.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))  # same modification time
    (root / "a" / "fake" / "f1.jpg").unlink()
    (root / "a" / "real" / "new.jpg").write_bytes(jpeg(5))
    shutil.move(root / "a" / "real" / "r0.jpg", root / "a" / "fake" / "r0.jpg")
    _, now, differences = verify(ImageFolder(root), tmp_path / "m.csv")
    assert differences.changed == ("a/fake/f0.jpg",)
    assert set(differences.missing) == {"a/fake/f1.jpg", "a/real/r0.jpg"}
    assert set(differences.added) == {"a/real/new.jpg", "a/fake/r0.jpg"}
    assert now != digest


def test_another_label_for_the_same_bytes_is_named(tmp_path):  # 001-32
    root = pictures(tmp_path / "set")
    write_manifest(ImageFolder(root), tmp_path / "m.csv")
    swapped = ImageFolder(root, labels={"real": 1, "fake": 0})
    differences = verify(swapped, tmp_path / "m.csv")[2]
    assert len(differences.relabelled) == 8
    assert not differences.changed


def test_the_hash_depends_on_content_alone(tmp_path):  # 001-32
    one = ImageFolder(pictures(tmp_path / "here" / "set"))
    shutil.copytree(tmp_path / "here" / "set", tmp_path / "elsewhere")
    two = ImageFolder(tmp_path / "elsewhere")
    assert manifest_hash(one) == manifest_hash(two) == hash_of(reversed(list(entries(one))))
    (tmp_path / "elsewhere" / "a" / "fake" / "f0.jpg").write_bytes(jpeg(77))
    assert manifest_hash(one) != manifest_hash(two)


def test_members_of_archives_are_listed(tmp_path):
    root = pictures(tmp_path / "set", 2)
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for path in sorted(root.rglob("*.jpg")):
            archive.add(path, path.name)
    found = list(entries(Tar(tmp_path / "set.tar")))
    assert [entry.path for entry in found] == [f"set.tar!{name}.jpg" for name in ("f0", "f1", "r0", "r1")]
    assert [entry.sha256 for entry in found] == [entry.sha256 for entry in entries(ImageFolder(root))]


def test_strange_names_survive(tmp_path):
    root = pictures(tmp_path / "set", 1)
    names = [b"line\nbreak.jpg", b'quote",.jpg', b"\xff.jpg", b" blank.jpg", "ü.jpg".encode()]
    for number, name in enumerate(names):
        with open(os.fsencode(root / "a" / "real") + b"/" + name, "wb") as stream:  # noqa: PTH123 - bytes
            stream.write(jpeg(50 + number))
    data = ImageFolder(root)
    assert write_manifest(data, tmp_path / "m.csv")[0] == 7
    assert not verify(data, tmp_path / "m.csv")[2]


def test_a_file_that_cannot_be_read_ends_it(tmp_path):
    root = pictures(tmp_path / "set")
    (root / "a" / "fake" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    with pytest.raises(TrainingDataError, match=r"gone\.jpg: cannot be read.*restore"):
        write_manifest(ImageFolder(root), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("../../secret.jpg", "0" * 64, "3", "real", "s", "g", ""), "outside"),
        (("a.jpg", "0" * 63, "3", "real", "s", "g", ""), "no entry"),
        (("a.jpg", "0" * 64, "3", "1", "s", "g", ""), "no entry"),
        (("b.jpg", "0" * 64, "3", "real", "s", "g", ""), "twice"),
        (("a.jpg",), "cells"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, row, words):
    good = ("b.jpg", "0" * 64, "3", "real", "s", "g", "")
    (tmp_path / "m.csv").write_text("\n".join(",".join(cells) for cells in (COLUMNS, good, row)) + "\n")
    with pytest.raises(TrainingDataError, match=f"row 3.*{words}"):
        verify(ImageFolder(tmp_path), tmp_path / "m.csv")


def test_a_file_listed_twice_is_refused(tmp_path):
    class Twice(ImageFolder):
        def __iter__(self):
            yield from super().__iter__()
            yield from super().__iter__()

    with pytest.raises(TrainingDataError, match="listed twice"):
        write_manifest(Twice(pictures(tmp_path / "set")), tmp_path / "m.csv")


def test_the_hashes_of_what_was_held_out_are_those_of_the_same_files_opened_alone(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        for label in (0, 1):
            (tmp_path / split / f"{label}.png").write_bytes(f"{split} {label}".encode())
        rows = "".join(f"{split}/{label}.png,{label}\n" for label in (0, 1))
        (tmp_path / f"{split}.csv").write_text(f"path,label\n{rows}")
    whole = CsvTable(tmp_path, labels={"0": 0, "1": 1})
    alone = CsvTable(tmp_path / "valid.csv", labels={"0": 0, "1": 1})
    found = held_out_hashes(whole)
    assert len(found) == 3
    assert found[0] == manifest_hash(whole)
    assert found[2] == manifest_hash(alone)
    assert held_out_hashes(alone) == (manifest_hash(alone),)
    (tmp_path / "train" / "0.png").write_bytes(b"")
    assert found[0] != held_out_hashes(whole)[0]
    assert found[1:] == held_out_hashes(whole)[1:]
    (tmp_path / "train" / "0.png").unlink()
    assert held_out_hashes(whole) == ()
