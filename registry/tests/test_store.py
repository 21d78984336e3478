"""A folder as registry: what goes in comes out, and what is damaged or escapes is refused."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_registry.errors import ArtifactCorrupt, DeepfakeError, RegistryError
from deepfake_registry.manifest import FileRef
from deepfake_registry.names import is_name, is_safe_path, split_reference
from deepfake_registry.store.index import describe
from deepfake_registry.store.local import LocalStorage
from deepfake_registry.store.opening import open_registry, open_storage
from deepfake_registry.store.registry import Registry
from deepfake_registry.store.upkeep import collect, verify


def blob_of(registry, content):
    digest = hashlib.sha256(content).hexdigest()
    return registry.storage.root / "blobs" / "sha256" / digest[:2] / digest


def snapshot(registry):
    root = registry.storage.root
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_is_pushed_can_be_read_and_pulled(registry, package, tmp_path):
    folder = package(content=b"abc")
    published, new = registry.push(folder, reports=[b'{"a": 1}'])
    assert new
    assert published.reference == "tiny@1"
    assert registry.names() == ["tiny"]
    assert registry.versions("tiny") == ["1"]
    found = registry.resolve("tiny@1")
    assert found == published
    assert registry.fetch(found.manifest.files["onnx"]).read_bytes() == b"abc"
    out = registry.pull(found, tmp_path / "out" / "pulled")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {
        file.name: file.read_bytes() for file in folder.iterdir()
    }
    (report,) = registry.reports(found)
    assert registry.read_report(found, report) == b'{"a": 1}'


def test_the_list_of_training_groups_goes_with_the_model(registry, package, tmp_path):
    reference = FileRef(path="tiny.groups.bin", sha256=hashlib.sha256(b"groups").hexdigest(), size_bytes=6)
    folder = package(training_groups=reference)
    with pytest.raises(ArtifactCorrupt, match=r"tiny\.groups\.bin"):
        registry.push(folder)
    (folder / "tiny.groups.bin").write_bytes(b"groups")
    published, _ = registry.push(folder)
    assert registry.fetch(reference).read_bytes() == b"groups"
    assert (registry.pull(published, tmp_path / "pulled") / "tiny.groups.bin").read_bytes() == b"groups"
    assert not collect(registry, grace=timedelta(0), delete=True).files
    assert verify(registry).blobs == 3
    blob_of(registry, b"groups").write_bytes(b"others")
    assert any("sha256" in problem for problem in verify(registry).problems)
    entry = describe(registry, "tiny", "1", [])
    assert (entry.training_groups, entry.size_bytes) == (reference, 6 + entry.files["onnx"].size_bytes)
    outside = package("2", training_groups=reference.model_copy(update={"path": "../tiny.groups.bin"}))
    with pytest.raises(ArtifactCorrupt, match="does not lie in the folder"):
        registry.push(outside)


def test_the_layout_is_the_documented_one(registry, package):
    folder = package(content=b"abc")
    published, _ = registry.push(folder)
    registry.move("tiny", "production", "1", reason="first")
    text = (folder / "manifest.json").read_bytes()
    expected = {f"blobs/sha256/{digest[:2]}/{digest}": data for data in (b"abc", text)
                for digest in [hashlib.sha256(data).hexdigest()]}  # fmt: skip
    expected["models/tiny/1/manifest.json"] = text
    found = {path.as_posix(): data for path, data in snapshot(registry).items()}
    move = json.loads(found.pop("aliases/tiny/production/000001.json"))
    assert found == expected
    assert (move["version"], move["reason"], move["manifest_sha256"]) == ("1", "first", published.sha256)


def test_the_same_again_changes_nothing_and_other_content_is_an_error(registry, package):
    registry.push(package(content=b"abc"))
    before = snapshot(registry)
    published, new = registry.push(package(content=b"abc"))
    assert not new
    assert published.reference == "tiny@1"
    assert snapshot(registry) == before
    with pytest.raises(RegistryError, match=r"tiny@1 is published with other content .*files.* never changes"):
        registry.push(package(content=b"xyz"))
    with pytest.raises(RegistryError, match="differs in: license"):
        registry.push(package(content=b"abc", license="MIT"))
    assert snapshot(registry) == before


def test_spaces_in_a_manifest_make_no_other_content(registry, package):
    folder = package()
    registry.push(folder)
    before = snapshot(registry)
    fields = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(fields))
    published, new = registry.push(folder)
    assert not new
    assert published.text != (folder / "manifest.json").read_bytes()
    assert snapshot(registry) == before


def test_two_versions_share_a_blob(registry, package):
    registry.push(package("1", content=b"abc"))
    registry.push(package("2", content=b"abc"))
    assert len(registry.storage.files("blobs")) == 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(b"abd"), "damaged, its sha256 differs"),
        (lambda file: file.write_bytes(b"ab"), "damaged, 2 bytes, expected 3"),
        (lambda file: file.unlink(), "missing"),
    ],
)
def test_a_damaged_blob_is_an_error_that_names_file_and_remedy(registry, package, tmp_path, damage, message):
    folder = package(content=b"abc")
    published, _ = registry.push(folder)
    blob = blob_of(registry, b"abc")
    damage(blob)
    for read in (
        lambda: registry.fetch(published.manifest.files["onnx"]),
        lambda: registry.pull(published, tmp_path / "out"),
    ):
        with pytest.raises(ArtifactCorrupt, match=message) as caught:
            read()
        assert str(blob) in str(caught.value)
        assert "push the model again" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    registry.push(folder)  # what the message says
    assert registry.fetch(published.manifest.files["onnx"]).read_bytes() == b"abc"


def test_every_flipped_bit_of_a_manifest_is_found(registry, package):
    registry.push(package())
    file = registry.storage.root / "models" / "tiny" / "1" / "manifest.json"
    text = file.read_bytes()
    for position in range(0, len(text), 7):
        file.write_bytes(text[:position] + bytes([text[position] ^ 4]) + text[position + 1 :])
        with pytest.raises(ArtifactCorrupt, match=r"manifest.json: damaged"):
            registry.resolve("tiny@1")
    file.write_bytes(text)
    assert registry.resolve("tiny@1").reference == "tiny@1"


def test_a_manifest_of_another_version_in_its_place_is_refused(registry, package):
    registry.push(package("1"))
    registry.push(package("2"))
    models = registry.storage.root / "models" / "tiny"
    (models / "2" / "manifest.json").write_bytes((models / "1" / "manifest.json").read_bytes())
    with pytest.raises(ArtifactCorrupt, match="is the manifest of tiny@1"):
        registry.resolve("tiny@2")


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret", "a/../../b", "https://example.org/x.onnx", "C:/x", r"..\x", "", "a//b", ".hidden",
     "a/./b", "manifest.json", "Manifest.JSON", "x\0y", "~/x"],
)  # fmt: skip
def test_a_manifest_whose_files_lead_elsewhere_is_refused(registry, package, path, tmp_path):
    digest = hashlib.sha256(b"weights").hexdigest()
    escaping = {"onnx": FileRef(path=path, sha256=digest, size_bytes=7)}
    folder = package(files=escaping)
    with pytest.raises(ArtifactCorrupt, match="does not lie in the folder of the model; refused"):
        registry.push(folder)
    assert registry.storage.files("blobs") == []
    # Nor is one that someone else has put there read.
    text = (folder / "manifest.json").read_bytes()
    registry.blobs.add_bytes(text)
    registry.storage.create("models/tiny/1/manifest.json", text)
    with pytest.raises(ArtifactCorrupt, match="refused"):
        registry.resolve("tiny@1")


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_out_of_the_package_is_refused(registry, package, tmp_path):
    folder = package()
    (tmp_path / "secret").write_bytes(b"weights")
    (folder / "tiny.onnx").unlink()
    (folder / "tiny.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactCorrupt, match="lies outside of the package"):
        registry.push(folder)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "tiny.onnx").unlink(), "tiny.onnx: cannot be read"),
        (lambda folder: (folder / "tiny.onnx").write_bytes(b"WEIGHTS"), "tiny.onnx: its sha256 differs"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json: its manifest is not valid"),
        (lambda folder: (folder / "manifest.json").unlink(), "not a packaged model"),
    ],
)
def test_a_broken_package_is_not_published(registry, package, break_it, message):
    folder = package()
    break_it(folder)
    with pytest.raises(ArtifactCorrupt, match=message):
        registry.push(folder)
    assert registry.names() == []


@pytest.mark.parametrize("version", ["../1", "1/2", "", ".1", "1.", "a b", "1\n", "x" * 101, "é"])
def test_a_version_that_is_no_name_is_refused(registry, package, version):
    folder = package()
    fields = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(fields | {"version": version}))
    with pytest.raises(RegistryError, match="cannot be a model's version"):
        registry.push(folder)


def test_what_is_not_there_says_what_is(registry, package):
    with pytest.raises(RegistryError, match=r"tiny@1: not in the registry .*models: none"):
        registry.resolve("tiny@1")
    registry.push(package("1"))
    registry.push(package("1.1"))
    registry.move("tiny", "production", "1", reason="x")
    with pytest.raises(RegistryError, match=r"tiny@2: not in .*versions: 1, 1\.1; aliases: production"):
        registry.resolve("tiny@2")
    with pytest.raises(RegistryError, match="did you mean 'tiny'"):
        registry.resolve("tinny@1")
    with pytest.raises(RegistryError, match="name a version or an alias too"):
        registry.resolve("tiny")


def test_a_folder_that_is_in_use_is_left_alone(registry, package, tmp_path):
    published, _ = registry.push(package())
    (tmp_path / "mine").mkdir()
    registry.pull(published, tmp_path / "mine")
    with pytest.raises(DeepfakeError, match="is there already"):
        registry.pull(published, tmp_path / "mine")


def test_an_error_of_the_file_system_is_one_line(package, tmp_path):
    (tmp_path / "file").touch()
    registry = Registry(LocalStorage(tmp_path / "file"))
    with pytest.raises(RegistryError, match=r"registry .*file cannot be read: ") as caught:
        registry.push(package())
    assert "\n" not in str(caught.value)


def test_which_registry_is_meant(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_REGISTRY", f"file://{tmp_path}/from%20environment")
    assert open_registry().storage.url == str(tmp_path / "from environment")
    assert open_registry(tmp_path / "given").storage.url == str(tmp_path / "given")
    monkeypatch.delenv("DEEPFAKE_REGISTRY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert open_registry().storage.url == str(tmp_path / "deepfake-core" / "registry")
    with pytest.raises(RegistryError, match="nowhere://x: cannot be opened"):
        open_storage("nowhere://x")


@given(st.text(max_size=30))
def test_no_name_leaves_its_folder(text):
    for kind in ("name", "version", "alias"):
        if is_name(kind, text):
            assert is_safe_path(text)
            assert "/" not in text


@given(st.text(max_size=30))
def test_no_safe_path_leaves_its_folder(text):
    if is_safe_path(text):
        assert not Path(text).is_absolute()
        assert not os.path.normpath(text).startswith("..")
        assert "\\" not in text
        assert ":" not in text


def test_references():
    assert split_reference("lite@production") == ("lite", "production")
    assert split_reference("lite") == ("lite", "")
    for wrong in ("lite@", "Lite@1", "../x@1", "lite@../1", "@1", "lite@a@b"):
        with pytest.raises(RegistryError, match="cannot be a model's"):
            split_reference(wrong)


@pytest.mark.parametrize("text", ["con", "NUL", "aux.onnx", "com1", "Lpt9.tar.gz", "model."])
def test_names_that_windows_keeps_or_changes_are_refused(text: str) -> None:
    assert not is_safe_path(text)
    assert not is_safe_path(f"blobs/{text}/x")
    assert not is_name("version", text)
    assert is_safe_path(f"x{text}x")
