"""Open the registry that an argument or the environment names, or the one in the user's data folder."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.request import url2pathname

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.folders import data_folder, expanded
from deepfake_registry.store.local import LocalStorage
from deepfake_registry.store.registry import Registry
from deepfake_registry.store.remote import RemoteStorage
from deepfake_registry.store.storage import Storage

URL_VARIABLE = "DEEPFAKE_REGISTRY"
"""Environment variable with the folder or URL of the registry."""
KEY_VARIABLE = "DEEPFAKE_REGISTRY_KEY"
"""Environment variable with the file of the public key that must have signed a model."""


def open_registry(url: str | os.PathLike[str] | None = None, *, key: str | os.PathLike[str] | None = None) -> Registry:
    """Open the registry that the user chose.

    Args:
        url: Folder or URL; by default ``DEEPFAKE_REGISTRY``, or else a folder in the user's data folder.
        key: File with the public key that must have signed a model; by default ``DEEPFAKE_REGISTRY_KEY``, if set.

    Raises:
        MissingExtra: The library for this kind of place is not installed.
        RegistryError: The URL is of no known kind.
        DeepfakeError: The file of the key does not exist, or there is no folder for the default registry.
    """
    chosen = url or os.environ.get(URL_VARIABLE) or default_folder()
    trusted = key or os.environ.get(KEY_VARIABLE) or None
    public_key = expanded(trusted) if trusted is not None else None
    if public_key is not None and not public_key.is_file():
        raise DeepfakeError(f"{public_key}: no such file; {KEY_VARIABLE} or --key names a public key")
    return Registry(open_storage(chosen), key=public_key)


def open_storage(url: str | os.PathLike[str]) -> Storage:
    """Open the storage of a registry.

    Args:
        url: Path of a folder, ``file://`` URL, or any URL that fsspec supports.

    Raises:
        MissingExtra: The library for this kind of place is not installed.
        RegistryError: The URL is of no known kind.
    """
    text = os.fspath(url)
    if text.startswith("file://"):
        return LocalStorage(url2pathname(text.removeprefix("file://")))
    return RemoteStorage(text) if "://" in text else LocalStorage(text)


def default_folder() -> Path:
    """Return the folder of the registry that is used when the user chose none.

    Raises:
        DeepfakeError: The home folder is unknown.
    """
    try:
        return data_folder() / "registry"
    except DeepfakeError as error:
        raise DeepfakeError(f"{error}, or name the registry: --registry or {URL_VARIABLE}") from error
