"""Aliases: they point at what they were pointed at, and keep their history."""

from __future__ import annotations

import json

import pytest

from deepfake_registry.errors import ArtifactCorrupt, RegistryError


@pytest.fixture
def two(registry, package):
    """A registry with ``tiny@1`` and ``tiny@2``."""
    for version in ("1", "2"):
        registry.push(package(version, content=version.encode()))
    return registry


def record(registry, number):
    return registry.storage.root / "aliases" / "tiny" / "production" / f"{number:06d}.json"


def test_a_moved_alias_keeps_its_history(two):
    two.move("tiny", "production", "1", reason="first release")
    two.move("tiny", "production", "2", reason="better on video", how="override", problems=("auc missed",))
    two.move("tiny", "production", "1", reason="back again")
    assert two.resolve("tiny@production").reference == "tiny@1"
    history = two.aliases.history("tiny", "production")
    assert [(move.number, move.version, move.reason, move.how) for move in history] == [
        (1, "1", "first release", "alias"),
        (2, "2", "better on video", "override"),
        (3, "1", "back again", "alias"),
    ]
    assert history[1].problems == ("auc missed",)
    assert two.aliases.names("tiny") == ["production"]


def test_an_alias_needs_a_version_that_exists_and_a_name_of_its_own(two, package):
    with pytest.raises(RegistryError, match="tiny@3: not in the registry"):
        two.move("tiny", "production", "3", reason="x")
    for alias in ("Production", "../x", "1", "", "a b", "-a"):
        with pytest.raises(RegistryError, match="cannot be a model's alias"):
            two.move("tiny", alias, "1", reason="x")
    two.push(package("v3"))
    with pytest.raises(RegistryError, match="tiny@v3 is a version"):
        two.move("tiny", "v3", "1", reason="x")
    two.move("tiny", "best", "1", reason="x")
    with pytest.raises(RegistryError, match="tiny@best is an alias"):
        two.push(package("best"))
    with pytest.raises(RegistryError, match=r"tiny has no alias 'gone' in .*; aliases: best"):
        two.aliases.history("tiny", "gone")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"version": "2"', '"version": "1"'),
        lambda text: text.replace("better", "bettor"),
        lambda text: text[:-10],
        lambda text: "[]",
        lambda text: "",
    ],
)
def test_a_damaged_record_is_an_error_and_never_the_one_before(two, damage):
    two.move("tiny", "production", "1", reason="first")
    two.move("tiny", "production", "2", reason="better")
    file = record(two, 2)
    file.write_text(damage(file.read_text()))
    with pytest.raises(ArtifactCorrupt, match=r"000002.json: damaged .*move the alias again"):
        two.resolve("tiny@production")
    two.move("tiny", "production", "2", reason="as the message says")
    assert two.resolve("tiny@production").reference == "tiny@2"


def test_a_record_of_another_move_and_a_gap_are_found(two):
    for version in ("1", "2", "1"):
        two.move("tiny", "production", version, reason="x")
    record(two, 3).write_bytes(record(two, 2).read_bytes())
    with pytest.raises(ArtifactCorrupt, match="is the record of another move"):
        two.resolve("tiny@production")
    record(two, 2).unlink()
    with pytest.raises(ArtifactCorrupt, match=r"000002.json: missing from the alias' history"):
        two.aliases.history("tiny", "production")


def test_a_version_that_was_replaced_behind_an_alias_is_noticed(two, package):
    two.move("tiny", "production", "1", reason="x")
    text = (package("1", content=b"other") / "manifest.json").read_bytes()
    two.blobs.add_bytes(text)
    (two.storage.root / "models" / "tiny" / "1" / "manifest.json").write_bytes(text)
    with pytest.raises(ArtifactCorrupt, match="was pointed at another tiny@1"):
        two.resolve("tiny@production")


def test_a_record_is_plain_json(two):
    two.move("tiny", "production", "1", reason="für alle")
    fields = json.loads(record(two, 1).read_text())
    assert fields["schema_version"] == 1
    assert fields["reason"] == "für alle"
    assert len(fields["sha256"]) == 64
