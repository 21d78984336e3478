"""Read model files: packages (folders with ``manifest.json`` and artefacts) and bare files.

A bare file contains its manifest. It is read from the container format alone, so that no model is loaded and neither
onnx nor safetensors is needed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from deepfake_core.errors import ArtifactCorrupt, InputError
from deepfake_registry.files import atomic_path, sha256_file, write_atomic
from deepfake_registry.manifest import MANIFEST_FILE, MANIFEST_KEY, FileRef, ModelManifest, parse_manifest
from deepfake_registry.published import inside, read_manifest

ENSEMBLE_FILE = "ensemble.json"
"""Name of the file in a folder that :meth:`deepfake_core.ensemble.ensemble.Ensemble.save` wrote."""

FORMATS = {".onnx": "onnx", ".safetensors": "safetensors", ".xml": "openvino"}
"""Suffix of a bare file that can be loaded → its format. Files of the other export formats are for other programs."""

WEIGHTS_FILE = {"openvino": "openvino-weights"}
"""Format whose artefact consists of two files → key of the second file in a manifest."""

WEIGHTS_HASH = "weights_sha256"
"""Key under which an ``.xml`` file stores the hash of its weights, beside its manifest."""

_HEADER_LIMIT = 100_000_000  # bytes; the safetensors format's own limit
_METADATA_PROPS = 14  # number of the field in onnx.proto


@dataclass(frozen=True, slots=True)
class Artifact:
    """Model file in one format; its content has been verified if the manifest of a package states its hash.

    Attributes:
        path: Path of the file.
        format: Format, one of the values of :data:`FORMATS`.
        sha256: SHA-256 of the content, in hexadecimal.
        manifest: Description of the model.
        weights: Path of the file with the weights, if they are in a file of their own.
    """

    path: Path
    format: str
    sha256: str
    manifest: ModelManifest
    weights: Path | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """Packaged model.

    Attributes:
        folder: Folder with the manifest and the files.
        manifest: Description of the model and list of its files.
    """

    folder: Path
    manifest: ModelManifest

    def artifact(self, format: str) -> Artifact | None:
        """Verify and return the file of one format; ``None`` if the package has none.

        Raises:
            ArtifactCorrupt: The file is missing, differs from its recorded size or sha256, or lies outside of
                the package.
        """
        if (found := self._file(format)) is None:
            return None
        path, sha256 = found
        weights = self._file(WEIGHTS_FILE[format]) if format in WEIGHTS_FILE else None
        return Artifact(path, format, sha256, self.manifest, weights[0] if weights else None)

    def _file(self, key: str) -> tuple[Path, str] | None:
        """Verify a file of the manifest, and return its path and its sha256; ``None`` if it is not listed."""
        reference = self.manifest.files.get(key)
        if reference is None:
            return None
        path = inside(self.folder, reference)
        if not path.is_file():
            raise ArtifactCorrupt(f"{path}: missing, though the manifest lists it; install the package again")
        size = path.stat().st_size
        if size != reference.size_bytes:
            raise ArtifactCorrupt(f"{path}: {size} bytes, expected {reference.size_bytes}; install the package again")
        if sha256_file(path) != reference.sha256:
            raise ArtifactCorrupt(f"{path}: its sha256 differs from the manifest's; install the package again")
        return path, reference.sha256


def is_path(name_or_path: str | os.PathLike[str]) -> bool:
    """Tell whether a model is given by its path: a string with a separator or the suffix of a model file, or no string.

    A plain word is always a name, so that a folder of this name in the working directory does not hide a detector.
    """
    if not isinstance(name_or_path, str):
        return True
    separators = {os.sep, os.altsep or os.sep}
    return Path(name_or_path).suffix.lower() in FORMATS or any(mark in name_or_path for mark in separators)


def read_package(folder: str | Path) -> Package:
    """Read the manifest of a packaged model; each file is verified when :meth:`Package.artifact` returns it.

    Raises:
        ArtifactCorrupt: The manifest is missing or cannot be read.
    """
    folder = Path(folder)
    return Package(folder, read_manifest(folder)[1])


def write_package(folder: str | Path, manifest: ModelManifest, files: Mapping[str, Path]) -> Package:
    """Write a packaged model, and replace an older one in the same folder.

    Files are named by their content, and the manifest is written last. A reader therefore finds either the old model or
    the new one, complete, even if the writer is killed.

    Args:
        folder: Folder of the package; it is created if it does not exist.
        manifest: Description of the model; its ``files`` are replaced.
        files: Mapping of format → artefact, which is copied.

    Returns:
        The package, whose manifest lists the written files.
    """
    folder = Path(folder)
    references: dict[str, FileRef] = {}
    for format, file in files.items():
        digest = sha256_file(file)
        name = f"{manifest.name}-{digest[:12]}{file.suffix}"
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(file, temporary)
        references[format] = FileRef(path=name, sha256=digest, size_bytes=file.stat().st_size)
    manifest = manifest.model_copy(update={"files": references})
    write_atomic(folder / MANIFEST_FILE, manifest.model_dump_json(indent=2) + "\n")
    kept = {reference.path for reference in references.values()}
    for stale in folder.glob(f"{manifest.name}-{'[0-9a-f]' * 12}.*"):
        if stale.name not in kept:
            stale.unlink()
    return Package(folder, manifest)


def read_bare(path: str | Path) -> Artifact:
    """Read the manifest inside of a bare model file, and hash the file.

    Raises:
        InputError: The file does not exist, or its suffix is none of :data:`FORMATS`.
        ArtifactCorrupt: The file cannot be read or contains no manifest, or its weights in a second file are missing or
            belong to another model.
    """
    path = Path(path)
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise InputError(str(path), f"not a model file; expected a package folder or one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise InputError(str(path), "no such file")
    metadata = _READERS[format](path)
    text = metadata.get(MANIFEST_KEY)
    if text is None:
        raise ArtifactCorrupt(
            f"{path}: carries no manifest, so its preprocessing and labels are unknown; "
            "write it with: dfbench export DETECTOR --format onnx"
        )
    weights = _weights_of_openvino(path, metadata) if format == "openvino" else None
    return Artifact(path, format, sha256_file(path), parse_manifest(text, path), weights)


def _safetensors_metadata(path: Path) -> dict[str, str]:
    """Return the free-form metadata of a safetensors header: 8 bytes of little-endian length, followed by JSON."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _HEADER_LIMIT:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
        metadata = header.get("__metadata__", {})
        if not isinstance(metadata, dict):
            raise ValueError("metadata is not a table")
    except (ValueError, AttributeError, OSError) as error:
        raise ArtifactCorrupt(f"{path}: not a readable safetensors file ({error})") from error
    return metadata


def _openvino_metadata(path: Path) -> dict[str, str]:
    """Return the entries under ``deepfake`` in the runtime information, with the manifest under its usual key, too."""
    metadata: dict[str, str] = {}
    trail: list[str] = []

    def enter(tag: str, attributes: dict[str, str]) -> None:
        trail.append(tag)
        if trail[1:-1] == ["rt_info", "deepfake"]:
            metadata[tag] = attributes.get("value", "")

    def refuse(*_declaration: object) -> None:
        raise ValueError("it declares entities, which no model needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler = enter
    parser.EndElementHandler = lambda _tag: trail.pop()
    parser.EntityDeclHandler = refuse
    try:
        with path.open("rb") as stream:
            parser.ParseFile(stream)
    except (expat.ExpatError, ValueError, OSError) as error:
        raise ArtifactCorrupt(f"{path}: not a readable OpenVINO model ({error})") from error
    return metadata | ({MANIFEST_KEY: metadata["manifest"]} if "manifest" in metadata else {})


def _weights_of_openvino(path: Path, metadata: Mapping[str, str]) -> Path:
    """Return the ``.bin`` file beside an ``.xml`` file, after a check of the hash that the latter states."""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ArtifactCorrupt(f"{weights}: missing; the weights of {path.name} belong beside it")
    if sha256_file(weights) != metadata.get(WEIGHTS_HASH):
        raise ArtifactCorrupt(f"{weights}: not the weights that {path.name} was written with; export it again")
    return weights


def _onnx_metadata(path: Path) -> dict[str, str]:
    """Return ``ModelProto.metadata_props``: field 14 of the outer protobuf message, entries of key (1) and value (2).

    All other fields, such as the weights, are skipped without being read.
    """
    metadata: dict[str, str] = {}
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            while stream.tell() < size:
                field, length = _next_field(stream, size)
                if field != _METADATA_PROPS:
                    stream.seek(length, os.SEEK_CUR)
                    continue
                end, entry = stream.tell() + length, {1: b"", 2: b""}
                while stream.tell() < end:
                    part, length = _next_field(stream, end)
                    entry[part] = stream.read(length)
                metadata[entry[1].decode()] = entry[2].decode()
    except (ValueError, OSError) as error:
        raise ArtifactCorrupt(f"{path}: not a readable ONNX file ({error})") from error
    return metadata


def _next_field(stream: BinaryIO, end: int) -> tuple[int, int]:
    """Read the head of a protobuf field: its number, and the length of its content in bytes (0 for an integer)."""
    field, wire = divmod(_varint(stream), 8)
    length = _varint(stream)
    if field > 0 and wire == 0:
        return field, 0
    if field == 0 or wire != 2 or stream.tell() + length > end:
        raise ValueError(f"unexpected bytes at offset {stream.tell()}")
    return field, length


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("it is cut short")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError(f"unexpected bytes at offset {stream.tell()}")


_READERS: Mapping[str, Callable[[Path], dict[str, str]]] = {
    "onnx": _onnx_metadata,
    "openvino": _openvino_metadata,
    "safetensors": _safetensors_metadata,
}
