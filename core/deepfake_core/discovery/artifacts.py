"""Read model files: packages (folders with ``manifest.json`` and artefacts) and bare files.

A bare file contains its manifest. It is read from the container format alone, so that no model is loaded and neither
onnx nor safetensors is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from deepfake_core.discovery.onnx_file import onnx_metadata, refuse_external_data
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, InputError
from deepfake_registry.files import atomic_path, sha256_file, write_atomic
from deepfake_registry.manifest import MANIFEST_FILE, MANIFEST_KEY, FileRef, ModelManifest, parse_manifest
from deepfake_registry.paths import as_typed, why_missing
from deepfake_registry.published import inside, read_manifest

ENSEMBLE_FILE = "ensemble.json"
"""Name of the file in a folder that :meth:`deepfake_core.ensemble.ensemble.Ensemble.save` wrote."""

GROUPS_SUFFIX = ".groups.bin"
"""End of the name of the file with the hashes of what trained the model of a package."""

RUN_MODEL = "model"
"""Name of the folder in which a training run packages its model."""

FORMATS = {".onnx": "onnx", ".safetensors": "safetensors", ".xml": "openvino"}
"""Suffix of a bare file that can be loaded → its format. Files of the other export formats are for other programs."""

WEIGHTS_FILE = {"openvino": "openvino-weights"}
"""Format whose artefact consists of two files → key of the second file in a manifest."""

WEIGHTS_HASH = "weights_sha256"
"""Key under which an ``.xml`` file stores the hash of its weights, beside its manifest."""

_HEADER_LIMIT = 100_000_000  # bytes; the safetensors format's own limit


@dataclass(frozen=True, slots=True)
class Artifact:
    """Model file in one format.

    Attributes:
        path: Path of the file.
        format: Format, one of the values of :data:`FORMATS`.
        sha256: SHA-256 of the content, in hexadecimal.
        manifest: Description of the model.
        weights: Path of the file with the weights, if they are in a file of their own.
        weights_sha256: SHA-256 of that file, in hexadecimal.
    """

    path: Path
    format: str
    sha256: str
    manifest: ModelManifest
    weights: Path | None = None
    weights_sha256: str = ""

    def content(self) -> bytes:
        """Read the file, and verify what was read; a model is made of these bytes, not of a file that is opened again.

        Raises:
            ArtifactCorrupt: The file cannot be read, has other content than its hash says, or is not all of the model.
        """
        content = _verified(self.path, self.sha256)
        if self.format == "onnx":
            refuse_external_data(content, self.path)
        return content

    def weights_content(self) -> bytes:
        """Read the file with the weights, and verify what was read; no bytes if there is no such file.

        Raises:
            ArtifactCorrupt: The file cannot be read, or its content is not that of its hash.
        """
        return _verified(self.weights, self.weights_sha256) if self.weights is not None else b""


@dataclass(frozen=True, slots=True)
class Package:
    """Packaged model.

    Attributes:
        folder: Folder with the manifest and the files.
        manifest: Description of the model and list of its files.
    """

    folder: Path
    manifest: ModelManifest

    def artifact(self, format: str, *, verify: bool = True) -> Artifact | None:
        """Return the file of one format; ``None`` if the package has none.

        Args:
            format: Format of the file.
            verify: Whether to verify the content. What is only read by :meth:`Artifact.content` is verified there.

        Raises:
            ArtifactCorrupt: The file is missing, differs from its recorded size or sha256, or lies outside of
                the package.
        """
        if (found := self._file(format, verify)) is None:
            return None
        weights = self._file(WEIGHTS_FILE[format], verify) if format in WEIGHTS_FILE else None
        return Artifact(found[0], format, found[1], self.manifest, *(weights or ()))

    def groups_file(self) -> Path | None:
        """Return the verified file with the hashes of what trained the model; ``None`` if the package has none.

        Raises:
            ArtifactCorrupt: The file is missing, differs from its recorded size or sha256, or lies outside of the
                package.
        """
        reference = self.manifest.training_groups
        return None if reference is None else self._fetched(reference, verify=True)

    def _file(self, key: str, verify: bool) -> tuple[Path, str] | None:
        """Return the path of a file of the manifest, and its sha256; ``None`` if it is not listed."""
        reference = self.manifest.files.get(key)
        return None if reference is None else (self._fetched(reference, verify=verify), reference.sha256)

    def _fetched(self, reference: FileRef, *, verify: bool) -> Path:
        """Return the path of a file that the manifest refers to."""
        path = inside(self.folder, reference)
        if not path.is_file():
            raise ArtifactCorrupt(f"{path}: missing, though the manifest lists it; install the package again")
        size = path.stat().st_size
        if size != reference.size_bytes:
            raise ArtifactCorrupt(f"{path}: {size} bytes, expected {reference.size_bytes}; install the package again")
        if verify and sha256_file(path) != reference.sha256:
            raise _other_content(path)
        return path


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

    Args:
        folder: Folder of the package, or of the training run that packaged it.

    Raises:
        ArtifactCorrupt: The manifest is missing or cannot be read.
    """
    folder = package_folder(folder)
    return Package(folder, read_manifest(folder)[1])


def package_folder(folder: str | Path) -> Path:
    """Return the folder of a packaged model, given that folder or the one of the training run that packaged it.

    A run packages the weights of its best validation.

    Raises:
        ArtifactCorrupt: It is a run that has not packaged its model yet, or the folder of several runs.
    """
    folder = Path(folder)
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if (folder / RUN_MODEL / MANIFEST_FILE).is_file():
        return folder / RUN_MODEL
    if (settings := folder / "config.yaml").is_file():
        detector = re.search(r"^detector: (\S+)$", settings.read_text("utf-8", "replace"), re.MULTILINE)
        raise ArtifactCorrupt(
            f"{folder}: this run has not ended, and packages its model at its end; go on with it: dfbench train "
            f"{detector[1] if detector else 'DETECTOR'} --run-dir {folder} --resume"
        )
    if runs := sorted(found.parent.parent for found in folder.glob(f"*/{RUN_MODEL}/{MANIFEST_FILE}")):
        raise ArtifactCorrupt(f"{folder}: holds runs; name one of them, such as {runs[0]}")
    return folder


def check_package_folder(folder: str | Path) -> None:
    """Refuse a folder that holds other files than a packaged model, among which the files of one would be lost.

    Raises:
        DeepfakeError: It holds other files, or it is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DeepfakeError(f"{folder}: is a file; name another folder, or a file with the suffix of its format")
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST_FILE).is_file():
        raise DeepfakeError(f"{folder}: holds other files, and no packaged model; name a new or an empty folder")


def write_package(
    folder: str | Path, manifest: ModelManifest, files: Mapping[str, Path], groups: Path | None = None
) -> Package:
    """Write a packaged model, and replace an older one in the same folder.

    Files are named by their content, and the manifest is written last. A reader therefore finds either the old model or
    the new one, complete, even if the writer is killed.

    Args:
        folder: Folder of the package; it is created if it does not exist.
        manifest: Description of the model; its ``files`` and ``training_groups`` are replaced.
        files: Mapping of format → artefact, which is copied.
        groups: File with the hashes of what trained the model, which is copied
            (:class:`~deepfake_core.discovery.training_groups.TrainingGroups`).

    Returns:
        The package, whose manifest lists the written files.
    """
    folder = Path(folder)
    references: dict[str, FileRef] = {}
    for format, file in files.items():
        references[format] = _copied(file, folder, manifest.name, file.suffix)
    known = _copied(groups, folder, manifest.name, GROUPS_SUFFIX) if groups is not None else None
    manifest = manifest.model_copy(update={"files": references, "training_groups": known})
    write_atomic(folder / MANIFEST_FILE, manifest.model_dump_json(indent=2) + "\n")
    kept = {reference.path for reference in manifest.references}
    for stale in folder.glob(f"{manifest.name}-{'[0-9a-f]' * 12}.*"):
        if stale.name not in kept:
            stale.unlink()
    return Package(folder, manifest)


def _copied(file: Path, folder: Path, name: str, suffix: str) -> FileRef:
    """Copy a file into a package under a name that its content gives."""
    digest = sha256_file(file)
    target = folder / f"{name}-{digest[:12]}{suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(file, temporary)
    return FileRef(path=target.name, sha256=digest, size_bytes=file.stat().st_size)


def join_packages(packages: Sequence[Package], folder: str | Path) -> Package:
    """Write one package with the files of several packages of one model, such as its exports in several formats.

    Args:
        packages: Packages of one model. Of weights for torch, which an export holds in half precision, those of the
            first package are taken.
        folder: Folder to write.

    Raises:
        DeepfakeError: The packages are of different models, or hold different files of one format.
        ArtifactCorrupt: A file is missing or damaged.
    """
    first = packages[0]
    groups: Path | None = None
    files: dict[str, tuple[Path, str]] = {}
    for package in packages:
        if package.manifest.embedded() != first.manifest.embedded():
            raise DeepfakeError(f"{first.folder} and {package.folder}: are not the same model; push them one by one")
        for format in package.manifest.files:
            found = package._file(format, verify=True)
            assert found is not None
            if files.setdefault(format, found)[1] != found[1] and format != "safetensors":
                raise DeepfakeError(
                    f"{files[format][0]} and {found[0]}: are different files of the format {format}, and a version "
                    "has one of each; leave one of them out"
                )
        groups = groups or package.groups_file()
    return write_package(folder, first.manifest, {format: path for format, (path, _) in files.items()}, groups)


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
        reason = f"not a model file; expected a package folder or one of {', '.join(FORMATS)}"
        raise InputError(as_typed(path), reason if path.is_file() else why_missing(path))
    if not path.is_file():
        raise InputError(as_typed(path), why_missing(path))
    metadata = _READERS[format](path)
    text = metadata.get(MANIFEST_KEY)
    if text is None:
        raise ArtifactCorrupt(
            f"{path}: carries no manifest, so its preprocessing and labels are unknown; "
            "write it with: dfbench export DETECTOR --format onnx"
        )
    manifest = parse_manifest(text, path)
    if format == "openvino":
        return Artifact(path, format, sha256_file(path), manifest, *_weights_of_openvino(path, metadata))
    artifact = Artifact(path, format, sha256_file(path), manifest)
    if format == "onnx":
        artifact.content()  # refuses a file that is not all of the model
    return artifact


def _verified(path: Path, sha256: str) -> bytes:
    """Read a file whose content must have a hash."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactCorrupt(f"{path}: cannot be read ({error.strerror}); install the package again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _other_content(path)
    return content


def _other_content(path: Path) -> ArtifactCorrupt:
    return ArtifactCorrupt(
        f"{path}: its sha256 differs from the manifest's, or it has changed since the detector was loaded; install the "
        "package again, or load the detector anew"
    )


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


def _weights_of_openvino(path: Path, metadata: Mapping[str, str]) -> tuple[Path, str]:
    """Return the ``.bin`` file beside an ``.xml`` file and its hash, which must be the one that the latter states."""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ArtifactCorrupt(f"{weights}: missing; the weights of {path.name} belong beside it")
    sha256 = sha256_file(weights)
    if sha256 != metadata.get(WEIGHTS_HASH):
        raise ArtifactCorrupt(f"{weights}: not the weights that {path.name} was written with; export it again")
    return weights, sha256


_READERS: Mapping[str, Callable[[Path], dict[str, str]]] = {
    "onnx": onnx_metadata,
    "openvino": _openvino_metadata,
    "safetensors": _safetensors_metadata,
}
