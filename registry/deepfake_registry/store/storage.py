"""Where a registry keeps its files: a folder on this machine, or any place that fsspec reaches.

Paths are relative to the root, with ``/``. A file appears whole or not at all. On this machine that holds whenever a
process is killed; elsewhere it is what the place itself promises (S3 and Google Cloud Storage do).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.request import url2pathname

from deepfake_registry.errors import ArtifactCorrupt, DeepfakeError, MissingExtra, RegistryError
from deepfake_registry.files import atomic_path, write_new
from deepfake_registry.manifest import FileRef
from deepfake_registry.names import is_safe_path

_BLOCK = 2**20  # bytes
_YOUNG = timedelta(hours=1)
"""A file elsewhere that is older than this is written again when a push takes it into use."""
_EXTRAS = {"s3": "deepfake-core[registry]", "s3a": "deepfake-core[registry]", "gs": "gcsfs", "gcs": "gcsfs"}


class Stat(NamedTuple):
    """Size of a file, and when it was written (with its time zone)."""

    size_bytes: int
    modified: datetime


class Storage(ABC):
    """A tree of files below a root.

    Attributes:
        url: The root as it may be shown, without credentials.
        folder: The root, where it is on this machine.
    """

    url: str
    folder: Path | None = None

    def where(self, path: str) -> str:
        """A file's full name, for messages."""
        return f"{self.url}/{path}"

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading.

        Raises:
            FileNotFoundError: There is none.
            RegistryError: The place cannot be reached.
        """

    def read(self, path: str) -> bytes:
        """A whole file; raises as :meth:`open` does."""
        with self.open(path) as stream, self.reporting("read"):
            return stream.read()

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def files(self, folder: str) -> list[str]:
        """Paths of all files below a folder, sorted; none where there is no such folder."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> None:
        """Write a new file; of several writers at once, exactly one succeeds.

        Raises:
            FileExistsError: There is such a file already; it is unchanged.
            RegistryError: It cannot be written.
        """

    @abstractmethod
    def upload(self, path: str, source: BinaryIO, expected: FileRef) -> None:
        """Write a file, replacing an older one, once its content has been checked.

        Raises:
            ArtifactCorrupt: The source's content is not the expected one; nothing is written.
            RegistryError: It cannot be written.
        """

    @abstractmethod
    def refresh(self, path: str) -> bool:
        """Make a file young, so that it counts as part of a push that goes on; whether it is young now.

        Where it is not, it needs to be written again. Raises as :meth:`open` does.
        """

    @abstractmethod
    def stat(self, path: str) -> Stat:
        """A file's size and age; raises as :meth:`open` does."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file."""

    @contextmanager
    def reporting(self, doing: str) -> Iterator[None]:
        """Turn whatever a file system raises into one line of ours, but for files that are missing or there already."""
        try:
            yield
        except (DeepfakeError, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RegistryError(f"registry {self.url} cannot be {doing}: {reason}") from error


class LocalStorage(Storage):
    """A folder, which is made when the first file is written."""

    def __init__(self, root: str | Path) -> None:
        self.root = self.folder = Path(root).expanduser().absolute()
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
        except PermissionError:  # it is another user's; replacing it needs the folder's permission only
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
        if not is_safe_path(path):
            raise RegistryError(f"{path!r} is no path inside of the registry {self.url}")
        return self.root / path


class RemoteStorage(Storage):
    """A place that fsspec reaches: a bucket, a repository, or this process' memory.

    Exactly one of several writers succeeds where the place has conditional writes: S3 and what speaks its language,
    Google Cloud Storage, and memory. Elsewhere (``hf://``) a registry needs to have one writer at a time.

    Args:
        url: Such as ``s3://bucket/folder``; the environment holds credentials and endpoints, as fsspec documents.

    Raises:
        MissingExtra: The library for this kind of place is not installed.
        RegistryError: There is no such kind of place, or the URL cannot be read.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = re.sub(r"//[^/@]*@", "//", url).rstrip("/")
        protocol = url.partition("://")[0]
        try:
            self.fs, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise MissingExtra(f"a registry at {protocol}://", _EXTRAS.get(protocol, error.name or protocol)) from error
        except Exception as error:
            raise RegistryError(f"registry {self.url}: cannot be opened: {error}") from error
        self.root = root.rstrip("/")

    def open(self, path: str) -> BinaryIO:
        with self.reporting("read"):
            stream: BinaryIO = self.fs.open(self._at(path), "rb")
            return stream

    def exists(self, path: str) -> bool:
        with self.reporting("read"):
            self.fs.invalidate_cache()
            try:
                self.fs.info(self._at(path))  # its exists() takes a lost connection for a missing file
            except FileNotFoundError:
                return False
            return True

    def files(self, folder: str) -> list[str]:
        with self.reporting("read"):
            self.fs.invalidate_cache()
            found: list[str] = self.fs.find(self._at(folder))
            return sorted(name.removeprefix(self.root).lstrip("/") for name in found)

    def create(self, path: str, data: bytes) -> None:
        with self._writing():
            try:
                self.fs.pipe_file(self._at(path), data, mode="create")
            except FileExistsError:
                raise
            except OSError as error:
                if self.exists(path):  # two writers at once: S3 tells one of them to ask again
                    raise FileExistsError(path) from error
                raise

    def upload(self, path: str, source: BinaryIO, expected: FileRef) -> None:
        with self._writing(), tempfile.TemporaryDirectory(prefix="deepfake-") as folder:
            checked = Path(folder) / "blob"
            copy_checked(source, checked, expected)
            self.fs.put_file(str(checked), self._at(path))

    def refresh(self, path: str) -> bool:
        return datetime.now(UTC) - self.stat(path).modified < _YOUNG

    def stat(self, path: str) -> Stat:
        with self.reporting("read"):
            self.fs.invalidate_cache()
            size: int = self.fs.size(self._at(path))
            modified: datetime = self.fs.modified(self._at(path))
            return Stat(size, modified if modified.tzinfo else modified.replace(tzinfo=UTC))

    def delete(self, path: str) -> None:
        with self.reporting("written"):
            self.fs.rm_file(self._at(path))

    def _at(self, path: str) -> str:
        if not is_safe_path(path):
            raise RegistryError(f"{path!r} is no path inside of the registry {self.url}")
        return f"{self.root}/{path}"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self.reporting("written"):
                yield
        except FileNotFoundError as error:
            raise RegistryError(f"registry {self.url} cannot be written: {error}") from error


def open_storage(url: str | os.PathLike[str]) -> Storage:
    """A folder's path or ``file://`` URL, or any URL that fsspec knows.

    Raises:
        MissingExtra: The library for this kind of place is not installed.
        RegistryError: The URL is of no known kind.
    """
    text = os.fspath(url)
    if text.startswith("file://"):
        return LocalStorage(url2pathname(text.removeprefix("file://")))
    return RemoteStorage(text) if "://" in text else LocalStorage(text)


def copy_checked(source: BinaryIO, target: Path, expected: FileRef) -> None:
    """Copy a stream to a file while its content is checked.

    Raises:
        ArtifactCorrupt: It differs from the expected size or sha256; the target then holds the wrong content.
    """
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as stream:
        while block := source.read(_BLOCK):
            digest.update(block)
            size += len(block)
            stream.write(block)
    compare(digest.hexdigest(), size, expected)


def hash_stream(source: BinaryIO) -> tuple[str, int]:
    """Hex sha256 and size in bytes of what is left of a stream."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def compare(sha256: str, size: int, expected: FileRef) -> None:
    """See that content is the expected one.

    Raises:
        ArtifactCorrupt: It is not; the message says in what, and does not name the file.
    """
    if size != expected.size_bytes:
        raise ArtifactCorrupt(f"{size} bytes, expected {expected.size_bytes}")
    if sha256 != expected.sha256:
        raise ArtifactCorrupt("its sha256 differs from the manifest's")
