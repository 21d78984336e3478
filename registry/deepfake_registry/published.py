"""One version of a model: as a packaged folder that is to be published, and as it stands in a registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.manifest import MANIFEST_FILE, FileRef, ModelManifest, parse_manifest
from deepfake_registry.names import check_name, check_paths, unique


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a model in a registry, its manifest verified.

    Attributes:
        manifest: What it is.
        text: The manifest's own bytes.
        sha256: Hex digest of these bytes: it stands for the whole model.
    """

    manifest: ModelManifest
    text: bytes
    sha256: str

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def files(self) -> list[FileRef]:
        """Its files, each content once."""
        return unique(self.manifest.files.values())


def manifest_path(name: str, version: str) -> str:
    """Where a version's manifest lies in a storage; raises RegistryError for what cannot be such a name."""
    return f"models/{check_name('name', name)}/{check_name('version', version)}/{MANIFEST_FILE}"


def folder_of(published: Published) -> str:
    """Where all that belongs to a version lies in a storage."""
    return manifest_path(published.manifest.name, published.manifest.version).removesuffix(f"/{MANIFEST_FILE}")


def read_manifest(folder: Path) -> tuple[bytes, ModelManifest]:
    """The manifest of a packaged model, as it stands in the file and as it reads.

    Raises:
        ArtifactCorrupt: It is missing or cannot be read.
    """
    file = folder / MANIFEST_FILE
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ArtifactCorrupt(f"{folder}: not a packaged model, {MANIFEST_FILE}: {error.strerror}") from error
    return text, parse_manifest(text, file)


def read_package(folder: Path) -> Published:
    """A packaged model as it would be published; its files are looked at when they are stored."""
    text, manifest = read_manifest(folder)
    check_name("name", manifest.name)
    check_name("version", manifest.version)
    check_paths(manifest, str(folder / MANIFEST_FILE))
    if not manifest.files:
        raise ArtifactCorrupt(f"{folder / MANIFEST_FILE}: lists no file, so there is nothing to publish")
    return Published(manifest, text, hashlib.sha256(text).hexdigest())


def inside(folder: Path, file: FileRef) -> Path:
    """A file of a packaged model; raises ArtifactCorrupt where a link leads out of the folder."""
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactCorrupt(f"{folder / MANIFEST_FILE}: {file.path!r} lies outside of the package; refused")
    return path


def same(existing: Published, package: Published) -> Published:
    """The existing version, which must be the one that is pushed."""
    if existing.manifest != package.manifest:
        changed = sorted(
            field for field in ModelManifest.model_fields
            if getattr(existing.manifest, field) != getattr(package.manifest, field)
        )  # fmt: skip
        raise RegistryError(
            f"{package.reference} is published with other content (it differs in: {', '.join(changed)}); a version "
            "never changes, so push this model under another one"
        )
    return existing
