"""Import something of the torch side by name, so that a missing torch becomes the pip line that brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepfake_core.discovery.plugins import import_object

if TYPE_CHECKING:
    from deepfake_core.contract.specs import DetectorSpec

TORCH_EXTRA = "deepfake-core[torch]"


def install_of(spec: DetectorSpec | None) -> str:
    """Return the requirement that brings torch for a detector; that of the core where no plugin stands behind it."""
    return spec.install if spec is not None else TORCH_EXTRA


def import_torch(name: str, install: str = TORCH_EXTRA) -> Any:
    """Import a name of :mod:`deepfake_core.runtimes.torch`.

    Args:
        name: Name of a function or class.
        install: Requirement that brings torch.

    Raises:
        MissingExtra: torch is not installed.
    """
    return import_object(f"deepfake_core.runtimes.torch:{name}", install=install)
