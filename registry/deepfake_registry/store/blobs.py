"""Files that are named by their content: ``blobs/sha256/<aa>/<hash>``."""

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
    """Whether a path in a storage is that of a blob."""
    return _HASH.fullmatch(path.rpartition("/")[2]) is not None and path == blob_path(path.rpartition("/")[2])


def blob_path(sha256: str) -> str:
    """Where content with this hash lies in a storage."""
    return f"{FOLDER}/{sha256[:2]}/{sha256}"


@dataclass(frozen=True, slots=True)
class Blobs:
    """The blobs of one storage; whoever reads one has it verified.

    Attributes:
        storage: Where they are.
        remedy: What helps where one is missing or damaged.
    """

    storage: Storage
    remedy: str

    def has(self, sha256: str) -> bool:
        """Whether there is a blob of that name; its content is not looked at."""
        return self.storage.exists(blob_path(sha256))

    def add(self, source: Path, expected: FileRef) -> None:
        """Store a file, unless the blob is there and intact; a damaged one is replaced.

        Raises:
            ArtifactCorrupt: The file's content is not the expected one.
            RegistryError: It cannot be stored.
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
        """Store bytes, unless they are there and intact; gives their reference (its path is the hash)."""
        expected = reference_to(data)
        if not self._keep(expected):
            self.storage.upload(blob_path(expected.sha256), io.BytesIO(data), expected)
        return expected

    def verify(self, expected: FileRef) -> None:
        """Read a blob from end to end.

        Raises:
            ArtifactCorrupt: It is missing or damaged; the message names the file and what helps.
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
        """Copy a blob to a file of another storage; raises as :meth:`verify` does, and then writes nothing."""
        own = blob_path(expected.sha256)
        try:
            with self.storage.open(own) as stream:
                other.upload(path, stream, expected)
        except FileNotFoundError:
            raise ArtifactCorrupt(f"{self.storage.where(own)}: missing; {self.remedy}") from None
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"{self.storage.where(own)}: damaged, {error}; {self.remedy}") from error

    def _keep(self, expected: FileRef) -> bool:
        """Whether the blob is there, intact, and young again, so that it is safe from being collected."""
        try:
            self.verify(expected)
            return self.storage.refresh(blob_path(expected.sha256))
        except (ArtifactCorrupt, FileNotFoundError):
            return False


def reference_to(data: bytes) -> FileRef:
    """A reference to some bytes; its path is their hash."""
    digest = hashlib.sha256(data).hexdigest()
    return FileRef(path=digest, sha256=digest, size_bytes=len(data))
