"""The hashes of what a model was trained on, which go with its package wherever it goes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_core.discovery import training_groups
from deepfake_core.discovery.artifacts import join_packages, read_bare, read_package, write_package
from deepfake_core.discovery.training_groups import TrainingGroups, hash_of_file, joined, read_groups
from deepfake_core.errors import ArtifactCorrupt

NAMES = st.lists(st.text(max_size=20), max_size=20)
DIGEST = hashlib.sha256(b"picture").hexdigest()
GROUPS = TrainingGroups.of(["a/1", "a/2"], ["b/1", "a/1"], [hash_of_file(DIGEST)])


def lists(groups: TrainingGroups) -> list[list[int]]:
    return [part.tolist() for part in groups._hashes()]


@given(NAMES, NAMES, st.lists(st.integers(0, 2**48 - 1)))
def test_a_file_gives_back_what_was_saved(trained: list[str], validated: list[str], files: list[int]) -> None:
    groups = TrainingGroups.of(trained, validated, files)
    content = groups.to_bytes()
    assert len(content) == 28 + 6 * sum(map(len, lists(groups)))
    assert lists(training_groups._parsed(content)) == lists(groups)
    assert groups.seen(trained).count == len(set(trained))
    assert groups.seen(validated).validated == len(set(validated) - set(trained))


def test_groups_are_found_by_name_and_by_the_bytes_of_a_file() -> None:
    seen = GROUPS.seen(["a/2", "b/1", "a/2", "copy", "new"], [("copy", hash_of_file(DIGEST)), ("new", 7)])
    assert (seen.count, seen.total, seen.names, seen.validated) == (2, 4, ("a/2", "copy"), 1)
    assert seen
    assert seen.share == 0.5
    assert not GROUPS.seen(["b/1", "new"])
    assert not GROUPS.seen([])


def test_a_model_has_seen_what_it_started_from_has() -> None:
    later = TrainingGroups.of(["b/1"], ["b/2"]).after(GROUPS)
    assert later.complete
    assert later.seen(["a/1", "a/2", "b/1", "b/2"]).names == ("a/1", "a/2", "b/1")
    assert later.seen(["b/1", "b/2"]).validated == 1
    assert not later.after(None).complete
    assert joined([None, None]) is None
    both = joined([GROUPS, None, later])
    assert both is not None
    assert not both.complete
    assert both.seen(["a/1", "b/1"]).count == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:20], "too short"),
        (lambda content: b"X" + content[1:], "begins with something else"),
        (lambda content: content[:8] + b"\x02" + content[9:], "version 2"),
        (lambda content: content[:9] + b"\x07" + content[10:], "header is damaged"),
        (lambda content: content[:-1], "do not hold 4 hashes"),
        (lambda content: content[:12] + b"\xff" * 4 + content[16:], "do not hold"),
        (lambda content: content[:28] + content[34:40] + content[28:34] + content[40:], "not in order"),
        (lambda content: content[:28] + content[28:34] * 2 + content[40:], "not in order"),
    ],
)
def test_a_file_from_elsewhere_is_checked(tmp_path: Path, damage: object, message: str) -> None:
    file = tmp_path / "groups.bin"
    file.write_bytes(damage(GROUPS.to_bytes()))  # type: ignore[operator]
    with pytest.raises(ArtifactCorrupt, match=rf"groups\.bin: .*{message}.*install the package again"):
        read_groups(file)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_groups, "LIMIT", 30)
    GROUPS.save(tmp_path / "groups.bin")
    with pytest.raises(ArtifactCorrupt, match="52 bytes, and at most 30 are read"):
        read_groups(tmp_path / "groups.bin")
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        read_groups(tmp_path / "absent")


def test_a_package_keeps_them_and_the_file_inside_does_not_name_them(tiny: Path, tmp_path: Path) -> None:
    model = next(tiny.glob("*.onnx"))
    weights = next(tiny.glob("*.safetensors"))
    GROUPS.save(tmp_path / "groups.bin")
    manifest = read_bare(model).manifest
    package = write_package(tmp_path / "one", manifest, {"onnx": model}, tmp_path / "groups.bin")
    again = read_package(tmp_path / "one")
    assert again.manifest == package.manifest
    file = again.groups_file()
    assert file is not None
    assert lists(read_groups(file)) == lists(GROUPS)
    assert again.manifest.training_groups is not None
    assert again.manifest.embedded() == manifest
    other = write_package(tmp_path / "two", manifest, {"safetensors": weights})
    assert other.groups_file() is None, "packages of earlier versions have none"
    both = join_packages([other, package], tmp_path / "both")
    assert both.groups_file() is not None
    assert sorted(both.manifest.files) == ["onnx", "safetensors"]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactCorrupt, match="sha256"):
        again.groups_file()
    write_package(tmp_path / "one", manifest, {"onnx": model})
    assert not list((tmp_path / "one").glob("*.groups.bin")), "the list of the model before is gone"


def test_a_loaded_model_says_what_trained_it(tiny: Path, tmp_path: Path) -> None:
    from deepfake_core import load

    GROUPS.save(tmp_path / "groups.bin")
    model = next(tiny.glob("*.onnx"))
    manifest = read_bare(model).manifest.model_copy(update={"weights": "trained"})
    write_package(tmp_path / "package", manifest, {"onnx": model}, tmp_path / "groups.bin")
    with load(tmp_path / "package", backend="onnxruntime") as detector:
        known = detector.training_groups
    assert known is not None
    assert np.array_equal(known.trained, GROUPS.trained)
    with load(model, backend="onnxruntime") as detector:
        assert detector.package is None
