"""A registry's files in a folder on this machine."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from deepfake_registry.errors import RegistryError
from deepfake_registry.files import atomic_path, write_new
from deepfake_registry.folders import expanded
from deepfake_registry.manifest import FileRef
from deepfake_registry.names import is_safe_path
from deepfake_registry.store.storage import Stat, Storage, copy_checked


class LocalStorage(Storage):
    """A folder on this machine; it is created when the first file is written.

    Args:
        root: The folder.

    Raises:
        DeepfakeError: The path begins with ``~``, and the home folder is unknown.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = self.folder = expanded(root).absolute()
        self.url = str(self.root)

    def where(self, path: str) -> str:
        return str(self.root / path)

    def open(self, path: str) -> BinaryIO:
        with self.reporting("read"):
            return self._at(path).open("rb")

    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    def files(self, folder: str) -> list[str]:
        with self.reporting("read"):
            return sorted(
                file.relative_to(self.root).as_posix()
                for file in self._at(folder).rglob("*")
                if file.is_file() and not file.name.startswith(".")
            )

    def create(self, path: str, data: bytes) -> None:
        with self.reporting("written"):
            write_new(self._at(path), data)

    def upload(self, path: str, source: BinaryIO, expected: FileRef) -> None:
        with self.reporting("written"), atomic_path(self._at(path)) as temporary:
            copy_checked(source, temporary, expected)

    def refresh(self, path: str) -> bool:
        try:
            os.utime(self._at(path))
        except PermissionError:  # it belongs to another user, but may be replaced where the folder allows it
            return False
        return True

    def stat(self, path: str) -> Stat:
        with self.reporting("read"):
            found = self._at(path).stat()
            return Stat(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def delete(self, path: str) -> None:
        with self.reporting("written"):
            self._at(path).unlink(missing_ok=True)

    def _at(self, path: str) -> Path:
        """Return the path of a file; a RegistryError refuses one that leaves the folder."""
        if not is_safe_path(path):
            raise RegistryError(f"{path!r} is no path inside of the registry {self.url}")
        return self.root / path
