"""Models of the registry, as packages whose files are fetched and verified when they are asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.artifacts import Artifact, Package, is_path

if TYPE_CHECKING:
    from deepfake_registry.store import Registry


@dataclass(frozen=True, slots=True)
class RegisteredPackage(Package):
    """A version of a model in a registry; ``folder`` is where its manifest stands, which may be elsewhere."""

    registry: Registry

    @property
    def reference(self) -> str:
        """``name@version``, which always means this very model."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def artifact(self, format: str) -> Artifact | None:
        """The file of one format on this machine, verified; ``None`` when the model has none of that format.

        Raises:
            ArtifactCorrupt: The file is missing or damaged, in the registry or in the cache.
        """
        reference = self.manifest.files.get(format)
        if reference is None:
            return None
        return Artifact(self.registry.fetch(reference), format, reference.sha256, self.manifest)


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
    from deepfake_registry.opening import open_registry

    registry = open_registry()
    found = registry.trusted(reference)
    return RegisteredPackage(Path(registry.storage.url), found.manifest, registry)
