"""A registry's files in any place that fsspec reaches, such as a bucket of S3."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from deepfake_registry.errors import MissingExtra, RegistryError
from deepfake_registry.manifest import FileRef
from deepfake_registry.names import is_safe_path
from deepfake_registry.store.storage import Stat, Storage, copy_checked

_YOUNG = timedelta(hours=1)
"""Age from which a push writes a file again when it begins to refer to it."""
_EXTRAS = {"s3": "deepfake-core[registry]", "s3a": "deepfake-core[registry]", "gs": "gcsfs", "gcs": "gcsfs"}


class RemoteStorage(Storage):
    """A place that fsspec reaches: a bucket, a repository, or the memory of this process.

    Exactly one of several writers succeeds where the place has conditional writes: S3 and compatible services, Google
    Cloud Storage, and memory. In other places (``hf://``) a registry must have one writer at a time.

    Args:
        url: URL such as ``s3://bucket/folder``; credentials and endpoints come from the environment, as the
            documentation of fsspec says.

    Raises:
        MissingExtra: The library for this kind of place is not installed.
        RegistryError: There is no such kind of place, or the URL cannot be parsed.
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
                self.fs.info(self._at(path))  # exists() of fsspec would report a lost connection as a missing file
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
                if self.exists(path):  # there were two writers at once, and S3 told one of them to retry
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
        """Return the full path of a file; a RegistryError refuses one that leaves the root."""
        if not is_safe_path(path):
            raise RegistryError(f"{path!r} is no path inside of the registry {self.url}")
        return f"{self.root}/{path}"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn errors into RegistryErrors; a missing file here means that the bucket itself is missing."""
        try:
            with self.reporting("written"):
                yield
        except FileNotFoundError as error:
            raise RegistryError(f"registry {self.url} cannot be written: {error}") from error
