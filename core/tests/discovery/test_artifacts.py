from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_core.discovery.artifacts import read_bare, read_package, write_package
from deepfake_core.errors import ArtifactCorrupt, InputError
from deepfake_registry.manifest import ModelManifest, Normalize, PreprocessSpec, Resize, manifest_of

MANIFEST = manifest_of(
    name="mine",
    architecture="tiny",
    preprocess=PreprocessSpec(
        resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    ),
    weights="untrained",
)


@pytest.fixture
def package(tiny: Path, tmp_path: Path) -> Path:
    """A writable copy of the packaged ``tiny``."""
    return Path(shutil.copytree(tiny, tmp_path / "package"))


def edit_manifest(package: Path, **changes: object) -> None:
    file = package / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("format", ["onnx", "safetensors"])
def test_manifest_inside_a_bare_file_is_the_packages(package: Path, format: str) -> None:
    artifact = read_package(package).artifact(format)
    assert artifact is not None
    bare = read_bare(artifact.path)
    assert bare.manifest == artifact.manifest.embedded()
    assert (bare.sha256, bare.format) == (artifact.sha256, format)


def test_absent_format_is_none(package: Path) -> None:
    assert read_package(package).artifact("openvino") is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "bytes, expected"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\x07"), "sha256"),
        (lambda file: file.unlink(), "missing"),
    ],
)
def test_damaged_file_is_an_error_that_names_it(package: Path, damage: object, message: str) -> None:
    (file,) = package.glob("*.onnx")
    damage(file)  # type: ignore[operator]
    with pytest.raises(ArtifactCorrupt, match=message) as caught:
        read_package(package).artifact("onnx")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/passwd", "link.onnx"])
def test_file_outside_of_the_package_is_refused(package: Path, path: str) -> None:
    outside = package.parent / "outside.onnx"
    outside.write_bytes(b"")
    (package / "link.onnx").symlink_to(outside)
    edit_manifest(package, files={"onnx": {"path": path, "sha256": "0" * 64, "size_bytes": 0}})
    with pytest.raises(ArtifactCorrupt, match="outside of the package"):
        read_package(package).artifact("onnx")


def test_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="not a packaged model"):
        read_package(tmp_path)


def test_a_run_stands_for_the_model_that_it_packaged(package: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("config: {}\ndetector: tiny\n")
    with pytest.raises(ArtifactCorrupt, match=r"has not ended.*dfbench train tiny --run-dir \S+mine --resume"):
        read_package(run)
    shutil.move(package, run / "model")
    assert read_package(run) == read_package(run / "model")
    with pytest.raises(ArtifactCorrupt, match=r"holds runs; name one of them, such as \S+mine$"):
        read_package(run.parent)


def test_manifest_of_a_newer_schema_says_upgrade(package: Path) -> None:
    edit_manifest(package, schema_version=2)
    with pytest.raises(ArtifactCorrupt, match="upgrade deepfake-core"):
        read_package(package)


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"name": "x"}', "\ufeff"])
def test_manifest_that_is_none(package: Path, text: str) -> None:
    (package / "manifest.json").write_text(text)
    with pytest.raises(ArtifactCorrupt, match=r"manifest\.json"):
        read_package(package)


def test_written_package_replaces_the_older_one(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"first")
    write_package(tmp_path / "package", MANIFEST, {"onnx": model})
    model.write_bytes(b"second")
    write_package(tmp_path / "package", MANIFEST, {"onnx": model})
    artifact = read_package(tmp_path / "package").artifact("onnx")
    assert artifact is not None
    assert artifact.path.read_bytes() == b"second"
    assert len(list((tmp_path / "package").iterdir())) == 2, "the older file is gone"


def test_write_that_fails_leaves_the_older_package(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"first")
    write_package(tmp_path / "package", MANIFEST, {"onnx": model})
    with pytest.raises(FileNotFoundError):
        write_package(tmp_path / "package", MANIFEST, {"onnx": model, "safetensors": tmp_path / "absent"})
    artifact = read_package(tmp_path / "package").artifact("onnx")
    assert artifact is not None
    assert artifact.path.read_bytes() == b"first"


def test_file_without_a_manifest_says_how_to_export_one(tmp_path: Path) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ArtifactCorrupt, match="dfbench export DETECTOR --format onnx"):
        read_bare(tmp_path / "x.safetensors")


def test_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(InputError, match=r"\.onnx, \.safetensors"):
        read_bare(tmp_path / "x.txt")
    with pytest.raises(InputError, match="no such file"):
        read_bare(tmp_path / "absent.onnx")


@given(data=st.binary(max_size=300), suffix=st.sampled_from([".onnx", ".safetensors"]))
def test_any_bytes_are_refused_by_name(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    file = tmp_path_factory.getbasetemp() / f"any{suffix}"
    file.write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match="any"):
        read_bare(file)


@given(data=st.data())
def test_mutated_model_file_gives_a_manifest_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    original = next((Path(__file__).parents[1] / "tiny_plugin/deepfake_tiny/weights").glob("*.onnx")).read_bytes()
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "mutated.onnx"
    file.write_bytes(mutated[: data.draw(st.integers(0, len(mutated)))])
    try:
        assert isinstance(read_bare(file).manifest, ModelManifest)
    except ArtifactCorrupt as error:
        assert str(file) in str(error)  # noqa: PT017 - either outcome is right
