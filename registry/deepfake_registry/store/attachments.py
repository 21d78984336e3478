"""Files that are kept with a version of a model: benchmark reports and signatures, each named by its content."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from deepfake_registry.errors import ArtifactCorrupt
from deepfake_registry.published import Published, folder_of
from deepfake_registry.store.storage import Storage


@dataclass(frozen=True, slots=True)
class Attachments:
    """The attachments of one kind: ``models/<name>/<version>/<folder>/<hash><suffix>``.

    Attributes:
        storage: Storage of the registry.
        folder: Folder of this kind, in the folder of a version.
        suffix: Suffix of the files.
    """

    storage: Storage
    folder: str
    suffix: str

    def add(self, published: Published, data: bytes) -> str:
        """Keep a file with a version, and return the hex sha256 that names it.

        Raises:
            RegistryError: The storage cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        with suppress(FileExistsError):
            self.storage.create(self._path(published, digest), data)
        return digest

    def names(self, published: Published) -> list[str]:
        """Return the hex sha256 of each file that is kept with a version."""
        paths = self.storage.files(f"{folder_of(published)}/{self.folder}")
        return [path.rpartition("/")[2].removesuffix(self.suffix) for path in paths]

    def read(self, published: Published, sha256: str) -> bytes:
        """Read a file that is kept with a version.

        Raises:
            ArtifactCorrupt: It is missing or damaged.
        """
        path = self._path(published, sha256)
        try:
            data = self.storage.read(path)
        except FileNotFoundError:
            raise ArtifactCorrupt(f"{self.storage.where(path)}: missing; add it again") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ArtifactCorrupt(f"{self.storage.where(path)}: damaged; delete it and add it again")
        return data

    def _path(self, published: Published, sha256: str) -> str:
        return f"{folder_of(published)}/{self.folder}/{sha256}{self.suffix}"
