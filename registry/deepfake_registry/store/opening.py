"""Which registry is meant: an argument, the environment, or a folder among the user's data."""

from __future__ import annotations

import os
from pathlib import Path

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.store.registry import Registry
from deepfake_registry.store.storage import open_storage

URL_VARIABLE = "DEEPFAKE_REGISTRY"
KEY_VARIABLE = "DEEPFAKE_REGISTRY_KEY"


def open_registry(url: str | os.PathLike[str] | None = None, *, key: str | os.PathLike[str] | None = None) -> Registry:
    """The registry that the user chose.

    Args:
        url: A folder or a URL; by default ``DEEPFAKE_REGISTRY``, or else a folder among the user's data.
        key: File with the public key that must have signed a model; by default ``DEEPFAKE_REGISTRY_KEY``, if set.

    Raises:
        MissingExtra: The library for this kind of place is not installed.
        RegistryError: The URL is of no known kind.
        DeepfakeError: There is no such key.
    """
    chosen = url or os.environ.get(URL_VARIABLE) or default_folder()
    trusted = key or os.environ.get(KEY_VARIABLE) or None
    if trusted is not None and not Path(trusted).expanduser().is_file():
        raise DeepfakeError(f"{os.fspath(trusted)}: no such file; {KEY_VARIABLE} or --key names a public key")
    return Registry(open_storage(chosen), key=Path(trusted).expanduser() if trusted is not None else None)


def default_folder() -> Path:
    """Where a registry is when the user chose none."""
    from platformdirs import user_data_path

    return user_data_path("deepfake-core") / "registry"
