"""The files of which a store of crops consists, by their names, wherever they lie."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import TrainingDataError

REMEDY = "prepare the dataset again with --rebuild (in Python rebuild=True), or remove the folder"
"""What to do about a store that is of no use, for messages: the last also holds for the cache of a training run."""

# Maximum number of files that a process keeps open for reading; systems commonly allow 1,024 open files.
_MOST_OPEN = 64


class Members:
    """The members of a store that is a folder: its files, named by their paths within it, such as ``index/fake.npy``.

    Any number of threads may share it.

    Args:
        path: Folder of the store.

    Attributes:
        path: Folder of the store.
        remedy: What to do about a member that is of no use, for messages.
    """

    remedy = REMEDY

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: OrderedDict[Path, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def exists(self, name: str) -> bool:
        """Return whether there is a member of this name."""
        return (self.path / name).is_file()

    def place(self, name: str) -> tuple[Path, int]:
        """Return the file that holds a member, and the offset in bytes at which the member begins there."""
        return self.path / name, 0

    def size(self, name: str) -> int:
        """Return the size of a member in bytes.

        Raises:
            TrainingDataError: There is no such member.
        """
        try:
            return (self.path / name).stat().st_size
        except OSError as error:
            raise TrainingDataError(f"{self.path / name}: {error.strerror}; {self.remedy}") from error

    def content(self, name: str) -> bytes:
        """Return the whole content of a member.

        Raises:
            TrainingDataError: The member cannot be read.
        """
        try:
            return self.read(name, 0, self.size(name))
        except OSError as error:
            raise TrainingDataError(f"{self.path / name}: cannot be read; {self.remedy} ({error})") from error

    def array(self, name: str) -> NDArray[Any]:
        """Return the array of a ``.npy`` member, mapped into memory and not read.

        Raises:
            TrainingDataError: The member cannot be read, or holds no array of numbers.
        """
        file, start = self.place(name)
        try:
            with file.open("rb") as stream:
                stream.seek(start)
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
                return self._mapped(file, dtype, stream.tell(), shape, start + self.size(name))
        except (OSError, ValueError) as error:
            raise TrainingDataError(f"{file}: {name} cannot be read; {self.remedy} ({error})") from error

    def blob(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a member, ``uint8 [bytes]``, mapped into memory and not read.

        Raises:
            TrainingDataError: The member cannot be read.
        """
        (file, start), size = self.place(name), self.size(name)
        try:
            return self._mapped(file, np.dtype(np.uint8), start, (size,), start + size)
        except (OSError, ValueError) as error:
            raise TrainingDataError(f"{file}: {name} cannot be read; {self.remedy} ({error})") from error

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return ``length`` bytes of a member from ``offset`` on, without mapping it.

        Raises:
            OSError: The file cannot be read.
        """
        path, start = self.place(name)
        with self._lock:
            file = self._open.pop(path, None) or _OpenFile(path)
            self._open[path] = file
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return file.read(start + offset, length)

    @staticmethod
    def _mapped(file: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], end: int) -> NDArray[Any]:
        """Map an array that lies in a file between ``offset`` and ``end``.

        Raises:
            ValueError: The array would end elsewhere, or holds Python objects.
        """
        if dtype.hasobject:
            raise ValueError("an array of objects")
        if offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64)) != end:
            raise ValueError(f"{end - offset} bytes are not {shape} of {dtype}")
        if end == offset:
            return np.empty(shape, dtype)  # nothing cannot be mapped
        # The elements of a plain view of the map are read faster than those of the map.
        return np.memmap(file, dtype, mode="r", offset=offset, shape=shape).view(np.ndarray)


class _OpenFile:
    """A file descriptor that is closed when its last user drops it, whichever thread that is in."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, length, offset)
        with self._lock:  # Windows reads at the position of the file, which all threads share
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.read(self.descriptor, length)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # The function is bound here, because at the end of the interpreter the module's names are gone already.
        if hasattr(self, "descriptor"):
            close(self.descriptor)
