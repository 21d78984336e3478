"""One version of a model, in a packaged folder that is to be published, or in a registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.manifest import MANIFEST_FILE, FileRef, ModelManifest, parse_manifest
from deepfake_registry.names import check_name, check_paths, unique
from deepfake_registry.paths import as_typed, why_no_path


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a model in a registry, with a verified manifest.

    Attributes:
        manifest: The manifest.
        text: Exact bytes of the manifest.
        sha256: Hex digest of these bytes, which identifies the whole model.
    """

    manifest: ModelManifest
    text: bytes
    sha256: str

    @property
    def reference(self) -> str:
        """Reference to this version: ``name@version``."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def files(self) -> list[FileRef]:
        """Files of this version, each content once."""
        return unique(self.manifest.references)


def manifest_path(name: str, version: str) -> str:
    """Return the path of the manifest of a version in a storage.

    Raises:
        RegistryError: The name or the version is not a valid one.
    """
    return f"models/{check_name('name', name)}/{check_name('version', version)}/{MANIFEST_FILE}"


def folder_of(published: Published) -> str:
    """Return the path of the folder of a version in a storage."""
    return manifest_path(published.manifest.name, published.manifest.version).removesuffix(f"/{MANIFEST_FILE}")


def read_manifest(folder: Path) -> tuple[bytes, ModelManifest]:
    """Read the manifest of a packaged model, and return its exact bytes and its content.

    Raises:
        ArtifactCorrupt: The manifest is missing or cannot be read.
    """
    file = folder / MANIFEST_FILE
    try:
        text = file.read_bytes()
    except OSError as error:
        reason = why_no_path(folder) or (
            f"not a packaged model ({MANIFEST_FILE}: {error.strerror}); name the folder of an export or a run"
        )
        raise ArtifactCorrupt(f"{as_typed(folder)}: {reason}") from error
    return text, parse_manifest(text, file)


def read_package(folder: Path) -> Published:
    """Read a packaged model that is to be published; its files are verified later, when they are stored.

    Raises:
        ArtifactCorrupt: The manifest is missing or not valid, lists no file, or lists one outside of the folder.
        RegistryError: The name or the version is not a valid one.
    """
    text, manifest = read_manifest(folder)
    check_name("name", manifest.name)
    check_name("version", manifest.version)
    check_paths(manifest, str(folder / MANIFEST_FILE))
    if not manifest.files:
        raise ArtifactCorrupt(f"{folder / MANIFEST_FILE}: lists no file, so there is nothing to publish")
    return Published(manifest, text, hashlib.sha256(text).hexdigest())


def inside(folder: Path, file: FileRef) -> Path:
    """Return the path of a file of a packaged model.

    Raises:
        ArtifactCorrupt: A symbolic link leads out of the folder.
    """
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactCorrupt(f"{folder / MANIFEST_FILE}: {file.path!r} lies outside of the package; refused")
    return path


def same(existing: Published, package: Published) -> Published:
    """Return the existing version, which must be the same model as the package that is pushed.

    Raises:
        RegistryError: The existing version is another model.
    """
    if existing.manifest != package.manifest:
        changed = sorted(
            field for field in ModelManifest.model_fields
            if getattr(existing.manifest, field) != getattr(package.manifest, field)
        )  # fmt: skip
        if changed == ["files"]:
            raise RegistryError(
                f"{package.reference} is published with other content (files: {', '.join(existing.manifest.files)}); a "
                "version never changes: to publish several formats, name all folders of the model in its first push"
            )
        raise RegistryError(
            f"{package.reference} is published with other content (it differs in: {', '.join(changed)}); a version "
            "never changes, so push this model under another one"
        )
    return existing
