"""Blobs: files that are named by the sha256 of their content, ``blobs/sha256/<aa>/<hash>``."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

from deepfake_registry.errors import ArtifactCorrupt
from deepfake_registry.manifest import FileRef
from deepfake_registry.store.storage import Storage, compare, hash_stream

FOLDER = "blobs/sha256"
_HASH = re.compile(r"[0-9a-f]{64}")


def is_blob(path: str) -> bool:
    """Whether a path in a storage has the form of a blob's path."""
    return _HASH.fullmatch(path.rpartition("/")[2]) is not None and path == blob_path(path.rpartition("/")[2])


def blob_path(sha256: str) -> str:
    """Return the path, in a storage, of the content with this hash."""
    return f"{FOLDER}/{sha256[:2]}/{sha256}"


@dataclass(frozen=True, slots=True)
class Blobs:
    """The blobs of one storage; each read verifies the content.

    Attributes:
        storage: Storage of the blobs.
        remedy: Advice for the user where a blob is missing or damaged.
    """

    storage: Storage
    remedy: str

    def has(self, sha256: str) -> bool:
        """Whether there is a blob with this name; its content is not verified."""
        return self.storage.exists(blob_path(sha256))

    def add(self, source: Path, expected: FileRef) -> None:
        """Store a file, unless its blob exists and is intact; a damaged blob is replaced.

        Args:
            source: The file.
            expected: Size and sha256 that the file must have.

        Raises:
            ArtifactCorrupt: The content of the file is not the expected one.
            RegistryError: The file cannot be stored.
        """
        if self._keep(expected):
            return
        try:
            with source.open("rb") as stream:
                self.storage.upload(blob_path(expected.sha256), stream, expected)
        except OSError as error:
            raise ArtifactCorrupt(f"{source}: cannot be read: {error.strerror}") from error
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"{source}: {error}; install or export the package again") from error

    def add_bytes(self, data: bytes) -> FileRef:
        """Store bytes, unless their blob exists and is intact, and return a reference whose path is the hash."""
        expected = reference_to(data)
        if not self._keep(expected):
            self.storage.upload(blob_path(expected.sha256), io.BytesIO(data), expected)
        return expected

    def verify(self, expected: FileRef) -> None:
        """Read a whole blob and check its size and sha256.

        Raises:
            ArtifactCorrupt: It is missing or damaged; the message names the file and says what to do.
        """
        path = blob_path(expected.sha256)
        try:
            with self.storage.reporting("read"), self.storage.open(path) as stream:
                compare(*hash_stream(stream), expected)
        except FileNotFoundError:
            raise ArtifactCorrupt(f"{self.storage.where(path)}: missing; {self.remedy}") from None
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"{self.storage.where(path)}: damaged, {error}; {self.remedy}") from error

    def copy_to(self, other: Storage, path: str, expected: FileRef) -> None:
        """Copy a blob to a file of another storage.

        Args:
            other: The other storage.
            path: Path of the file in it.
            expected: Size and sha256 of the blob.

        Raises:
            ArtifactCorrupt: The blob is missing or damaged; nothing is written.
        """
        own = blob_path(expected.sha256)
        try:
            with self.storage.open(own) as stream:
                other.upload(path, stream, expected)
        except FileNotFoundError:
            raise ArtifactCorrupt(f"{self.storage.where(own)}: missing; {self.remedy}") from None
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"{self.storage.where(own)}: damaged, {error}; {self.remedy}") from error

    def _keep(self, expected: FileRef) -> bool:
        """Whether the blob exists, is intact, and was marked as new, so that the garbage collection keeps it."""
        try:
            self.verify(expected)
            return self.storage.refresh(blob_path(expected.sha256))
        except (ArtifactCorrupt, FileNotFoundError):
            return False


def reference_to(data: bytes) -> FileRef:
    """Return a reference to some bytes, whose path is their hash."""
    digest = hashlib.sha256(data).hexdigest()
    return FileRef(path=digest, sha256=digest, size_bytes=len(data))
