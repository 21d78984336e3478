"""Find models in a registry; they are packages whose files are fetched and verified on first use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.discovery.artifacts import Package, is_path

if TYPE_CHECKING:
    from deepfake_registry.manifest import FileRef
    from deepfake_registry.store.registry import Registry


@dataclass(frozen=True, slots=True)
class RegisteredPackage(Package):
    """Version of a model in a registry.

    Attributes:
        registry: Registry that holds the files; ``folder`` is its address, which may be on another machine.
    """

    registry: Registry

    @property
    def reference(self) -> str:
        """Reference ``name@version``, which always denotes the same model."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def _fetched(self, reference: FileRef, *, verify: bool) -> Path:  # noqa: ARG002 - what is fetched is verified
        """Fetch and verify a file that the manifest refers to, and return its local path."""
        return self.registry.fetch(reference)


def is_registered_name(name_or_path: str | os.PathLike[str]) -> bool:
    """Tell whether a model is given as one of the registry: ``name@version`` or ``name@alias``."""
    return not is_path(name_or_path) and "@" in str(name_or_path)


def find_registered(reference: str) -> RegisteredPackage:
    """Find a model in the registry that the environment variable ``DEEPFAKE_REGISTRY`` names.

    Args:
        reference: Reference of the form ``name@version`` or ``name@alias``.

    Raises:
        RegistryError: There is no such model, version or alias, or the registry cannot be reached.
        SignatureRefused: ``DEEPFAKE_REGISTRY_KEY`` names a public key, and the model has no valid signature by it.
        ArtifactCorrupt: The manifest of the model is damaged.
    """
    from deepfake_registry.store.opening import open_registry

    registry = open_registry()
    found = registry.trusted(reference)
    return RegisteredPackage(Path(registry.storage.url), found.manifest, registry)
