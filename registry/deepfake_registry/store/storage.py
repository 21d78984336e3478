"""The interface of the places where a registry keeps its files.

Paths are relative to the root and use ``/``. A file appears whole or not at all. On this machine that holds whenever a
process is killed; in other places it depends on the place (S3 and Google Cloud Storage promise it).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from deepfake_registry.errors import ArtifactCorrupt, DeepfakeError, RegistryError
from deepfake_registry.manifest import FileRef

_BLOCK = 2**20  # bytes


class Stat(NamedTuple):
    """Size of a file, and the time at which it was written, with its time zone."""

    size_bytes: int
    modified: datetime


class Storage(ABC):
    """A tree of files below a root.

    Attributes:
        url: Path or URL of the root, without credentials.
        folder: Folder of the root, if it is on this machine.
    """

    url: str
    folder: Path | None = None

    def where(self, path: str) -> str:
        """Return the full name of a file, for messages."""
        return f"{self.url}/{path}"

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading.

        Raises:
            FileNotFoundError: There is no such file.
            RegistryError: The place cannot be reached.
        """

    def read(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            FileNotFoundError: There is no such file.
            RegistryError: The place cannot be reached.
        """
        with self.open(path) as stream, self.reporting("read"):
            return stream.read()

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def files(self, folder: str) -> list[str]:
        """Return the sorted paths of all files below a folder; none where there is no such folder."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> None:
        """Write a new file; of several writers at once, exactly one succeeds.

        Raises:
            FileExistsError: The file exists already; it is unchanged.
            RegistryError: The file cannot be written.
        """

    @abstractmethod
    def upload(self, path: str, source: BinaryIO, expected: FileRef) -> None:
        """Write a file, replacing an older one, once its content has been checked.

        Raises:
            ArtifactCorrupt: The content of the source is not the expected one; nothing is written.
            RegistryError: The file cannot be written.
        """

    @abstractmethod
    def refresh(self, path: str) -> bool:
        """Mark a file as new, so that it is not deleted while a push begins to refer to it.

        Returns:
            Whether the file is new now; otherwise it has to be written again.

        Raises:
            FileNotFoundError: There is no such file.
            RegistryError: The place cannot be reached.
        """

    @abstractmethod
    def stat(self, path: str) -> Stat:
        """Return the size of a file and the time at which it was written.

        Raises:
            FileNotFoundError: There is no such file.
            RegistryError: The place cannot be reached.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file."""

    @contextmanager
    def reporting(self, doing: str) -> Iterator[None]:
        """Turn any error of a file system into a RegistryError, except for a missing file and one that exists already.

        Args:
            doing: What fails, for the message: ``"read"`` or ``"written"``.
        """
        try:
            yield
        except (DeepfakeError, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RegistryError(f"registry {self.url} cannot be {doing}: {reason}") from error


def copy_checked(source: BinaryIO, target: Path, expected: FileRef) -> None:
    """Copy a stream to a file while its content is checked.

    Raises:
        ArtifactCorrupt: Its size or sha256 is not the expected one; the target then holds the wrong content.
    """
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as stream:
        while block := source.read(_BLOCK):
            digest.update(block)
            size += len(block)
            stream.write(block)
    compare(digest.hexdigest(), size, expected)


def hash_stream(source: BinaryIO) -> tuple[str, int]:
    """Return the hex sha256 and the size in bytes of the rest of a stream."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def compare(sha256: str, size: int, expected: FileRef) -> None:
    """Check that content has the expected size and sha256.

    Raises:
        ArtifactCorrupt: One of them differs; the message says which one, and does not name the file.
    """
    if size != expected.size_bytes:
        raise ArtifactCorrupt(f"{size} bytes, expected {expected.size_bytes}")
    if sha256 != expected.sha256:
        raise ArtifactCorrupt("its sha256 differs from the manifest's")
