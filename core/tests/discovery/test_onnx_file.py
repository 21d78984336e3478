"""Model files are made of the bytes that were verified, and of nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_core import load
from deepfake_core.discovery.artifacts import Artifact, read_bare, read_package
from deepfake_core.discovery.onnx_file import refuse_external_data
from deepfake_core.errors import ArtifactCorrupt


def field(number: int, content: bytes) -> bytes:
    """Return a protobuf field of bytes or a message."""
    length, head = len(content), bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return (
        bytes([number << 3 & 0x7F | 2 | (0x80 if number > 15 else 0)])
        + (bytes([number >> 4]) if number > 15 else b"")
        + bytes([*head, length])
        + content
    )


LOCATION = field(1, b"location") + field(2, b"../../secret.bin")
EXTERNAL = b"\x70\x01" + field(13, LOCATION)  # data_location = EXTERNAL
NUMBERS = b"\x25\x00\x00\x80\x3f" + b"\x51" + bytes(8)  # numbers of a fixed length, which a tensor may have


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensor: field(7, field(5, tensor)),  # an initializer
        lambda tensor: field(7, field(15, field(1, tensor))),  # the values of a sparse one
        lambda tensor: field(7, field(1, field(5, field(5, tensor)))),  # a constant
        lambda tensor: field(7, field(1, field(5, field(6, field(5, tensor))))),  # inside of a branch
        lambda tensor: field(25, field(7, field(5, field(10, tensor)))),  # inside of a function
        lambda tensor: field(20, field(1, field(5, tensor))),
    ],
)
def test_weights_in_another_file_are_refused_wherever_they_are_named(wrap: Callable[[bytes], bytes]) -> None:
    model = b"\x08\x08" + wrap(NUMBERS + EXTERNAL)
    with pytest.raises(ArtifactCorrupt, match=r"mine\.onnx: keeps weights in another file.*onnx\.save"):
        refuse_external_data(model, Path("mine.onnx"))
    refuse_external_data(b"\x08\x08" + wrap(NUMBERS + field(8, b"location")), Path("mine.onnx"))  # a name of a tensor


def test_a_model_whose_weights_are_in_another_file_is_not_loaded(tiny: Path, tmp_path: Path) -> None:
    (model,) = tiny.glob("*.onnx")
    file = tmp_path / "mine.onnx"
    file.write_bytes(model.read_bytes() + field(7, field(5, EXTERNAL)))  # protobuf joins messages that are repeated
    for open_it in (read_bare, load):
        with pytest.raises(ArtifactCorrupt, match="keeps weights in another file"):
            open_it(file)


@pytest.mark.parametrize(
    ("backend", "suffix"),
    [
        ("onnxruntime", "onnx"),
        pytest.param("openvino", "onnx", marks=pytest.mark.openvino),
        pytest.param("torch", "safetensors", marks=pytest.mark.torch),
    ],
)
def test_a_file_that_is_replaced_after_it_was_found_is_not_loaded(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, suffix: str
) -> None:
    package = Path(shutil.copytree(tiny, tmp_path / "package"))
    (file,) = package.glob(f"*.{suffix}")
    found = read_package(package).artifact(suffix)
    assert found is not None
    whole = file.read_bytes()
    assert found.content() == whole
    really_read = Path.read_bytes

    def read_once(path: Path) -> bytes:
        """Give the content, and replace the file: whoever opens it again reads something else."""
        content = really_read(path)
        if path == file:
            path.write_bytes(b"replaced")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_once)
    detector = load(package, backend=backend, device="cpu", threads=2)
    assert detector.artifacts[0].path.stat().st_size == len(b"replaced")
    with pytest.raises(ArtifactCorrupt, match="sha256 differs"):
        Artifact(file, found.format, found.sha256, found.manifest).content()
