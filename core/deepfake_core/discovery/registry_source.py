"""Models of the registry, as packages whose files are fetched and verified when they are asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.discovery.artifacts import Package, is_path

if TYPE_CHECKING:
    from deepfake_registry.store.registry import Registry


@dataclass(frozen=True, slots=True)
class RegisteredPackage(Package):
    """A version of a model in a registry; ``folder`` is where its manifest stands, which may be elsewhere."""

    registry: Registry

    @property
    def reference(self) -> str:
        """``name@version``, which always means this very model."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def _file(self, key: str) -> tuple[Path, str] | None:
        """A file of the manifest on this machine, verified in the registry or in the cache, and its sha256."""
        reference = self.manifest.files.get(key)
        return (self.registry.fetch(reference), reference.sha256) if reference is not None else None


def is_registered_name(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether a model is named as one of the registry: ``name@version`` or ``name@alias``."""
    return not is_path(name_or_path) and "@" in str(name_or_path)


def find_registered(reference: str) -> RegisteredPackage:
    """``name@version`` or ``name@alias`` in the registry that ``DEEPFAKE_REGISTRY`` names.

    Raises:
        RegistryError: There is no such model, version or alias, or the registry cannot be reached.
        SignatureRefused: ``DEEPFAKE_REGISTRY_KEY`` names a key that has not signed it.
        ArtifactCorrupt: Its manifest is damaged.
    """
    from deepfake_registry.store.opening import open_registry

    registry = open_registry()
    found = registry.trusted(reference)
    return RegisteredPackage(Path(registry.storage.url), found.manifest, registry)
