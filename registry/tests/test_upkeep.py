"""Verifying a registry, collecting its garbage, and comparing versions."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from deepfake_registry.errors import ArtifactCorrupt
from deepfake_registry.store.upkeep import collect, differences, verify

OLD = timedelta(days=30)


def age(registry, by=OLD):
    """Make all that is there older."""
    then = (datetime.now(UTC) - by).timestamp()
    for path in registry.storage.root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def blobs(registry):
    return len(registry.storage.files("blobs"))


def test_verify_reads_everything_and_names_what_is_wrong(registry, package):
    published, _ = registry.push(package("1", content=b"one"), reports=[b"{}"])
    registry.push(package("2", content=b"two"))
    registry.move("tiny", "production", "2", reason="x")
    stray = registry.blobs.add_bytes(b"stray")
    good = verify(registry)
    assert (good.versions, good.moves, good.blobs, good.problems) == (2, 1, 5, [])
    root = registry.storage.root
    registry.fetch(published.manifest.files["onnx"]).write_bytes(b"onE")
    (root / "models" / "tiny" / "1" / "reports" / f"{registry.reports(published)[0]}.json").write_bytes(b"[]")
    (root / "models" / "tiny" / "2" / "manifest.json").write_bytes(b"{}")
    (root / "blobs" / "sha256" / stray.sha256[:2] / stray.sha256).write_bytes(b"Stray")
    problems = verify(registry).problems
    for words in ("its sha256 differs", "reports", "2/manifest.json: damaged", stray.sha256):
        assert any(words in problem for problem in problems), (words, problems)


def test_garbage_is_old_and_nothing_refers_to_it(registry, package):
    registry.push(package("1", content=b"one"))
    registry.blobs.add_bytes(b"of a push that was killed long ago")
    half = registry.storage.root / "blobs" / "sha256" / "aa" / ".aabb.x.tmp"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    age(registry)
    registry.blobs.add_bytes(b"of a push that goes on")
    found = collect(registry)
    assert len(found.files) == 2
    assert found.size_bytes == len(b"of a push that was killed long ago") + 4
    assert blobs(registry) == 4  # only said, not done
    assert half.exists()
    assert collect(registry, delete=True) == found
    assert blobs(registry) == 3
    assert not half.exists()
    assert verify(registry).problems == []
    assert collect(registry, delete=True).files == []


def test_only_what_a_registry_wrote_is_collected(registry, package):
    registry.push(package())
    root = registry.storage.root
    others = [root / ".mine.tmp", root / "photos" / ".x.tmp", root / "blobs" / "sha256" / "notes.txt"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(b"x")
    age(registry)
    assert collect(registry, delete=True).files == []
    assert all(other.exists() for other in others)
    assert verify(registry).problems == [f"{others[2]}: no file of a registry"]


def test_a_push_makes_old_blobs_young_again(registry, package):
    folder = package("1", content=b"one")
    registry.push(folder)
    (registry.storage.root / "models" / "tiny" / "1" / "manifest.json").unlink()  # its manifest is not written yet
    age(registry)
    assert len(collect(registry).files) == 2
    registry._store_files(registry.push(folder)[0], folder)
    (registry.storage.root / "models" / "tiny" / "1" / "manifest.json").unlink()
    assert collect(registry).files == []


def test_a_blob_that_was_collected_during_a_push_is_stored_again(registry, package, monkeypatch):
    folder = package("1", content=b"one")
    create = registry.storage.create

    def create_after_a_collection(path, data):
        for blob in registry.storage.files("blobs"):
            registry.storage.delete(blob)
        create(path, data)

    monkeypatch.setattr(registry.storage, "create", create_after_a_collection)
    registry.push(folder)
    assert verify(registry).problems == []
    assert blobs(registry) == 2


def test_nothing_is_collected_when_a_manifest_cannot_be_read(registry, package):
    registry.push(package("1", content=b"one"))
    registry.blobs.add_bytes(b"stray")
    age(registry)
    (registry.storage.root / "models" / "tiny" / "1" / "manifest.json").write_bytes(b"{}")
    with pytest.raises(ArtifactCorrupt):
        collect(registry, delete=True)
    assert blobs(registry) == 3


def test_what_differs_between_two_versions(registry, package):
    one, _ = registry.push(package("1", content=b"one", license="MIT", metrics={"test": {"auc": 0.8}}))
    two, _ = registry.push(package("2", content=b"two", license="MIT", metrics={"test": {"auc": 0.9}, "new": 1}))
    found = {change.field: (change.before, change.after) for change in differences(one, two)}
    assert found.pop("files.onnx.sha256")
    assert found == {"version": ("1", "2"), "metrics.test.auc": (0.8, 0.9), "metrics.new": (None, 1)}
    assert differences(one, one) == []
