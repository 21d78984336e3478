"""Inputs that are objects in memory: open files, buffers, and arrays of other libraries."""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeGuard

import numpy as np

from deepfake_core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BYTES = 2 << 30
"""Most bytes that are read from an open file, which may have no end."""

_PIECE = 16 << 20
_ASYNCHRONOUS = "its read() is asynchronous; pass the bytes, as from await file.read()"


def is_file_object(value: object) -> TypeGuard[BinaryIO]:
    """Tell whether something is an open file, or can be read as one; also if it was opened as text."""
    return hasattr(value, "read") and not is_response(value)


def is_response(value: object) -> bool:
    """Tell whether something is the response of an HTTP client such as requests, which is iterated in pieces."""
    return hasattr(value, "content") and hasattr(value, "headers") and hasattr(value, "status_code")


def is_array(value: object) -> bool:
    """Tell whether something is a NumPy array, or an array of a library such as torch; no library is imported."""
    if isinstance(value, np.ndarray):
        return True
    # A table has columns, and a class is no array though its instances are.
    other = hasattr(value, "__array__") or hasattr(value, "__dlpack__")
    return other and hasattr(value, "shape") and not isinstance(value, np.generic | type) and not is_table(value)


def is_table(value: object) -> bool:
    """Tell whether something is a table of pandas or polars."""
    return hasattr(value, "columns") and hasattr(value, "shape")


def as_array(value: Any) -> NDArray[Any]:
    """Return an array of any library as a NumPy array on the CPU, without a copy where that can be.

    Raises:
        InputError: The values cannot be had.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        for step in ("detach", "cpu"):
            if callable(getattr(value, step, None)):
                value = getattr(value, step)()
        if "bfloat16" in str(getattr(value, "dtype", "")) and callable(getattr(value, "float", None)):
            value = value.float()  # NumPy has no such type
        return np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    except Exception as error:
        kind = type(value).__name__
        reason = " ".join(str(error).split())
        raise InputError(
            "<array>", f"the values of this {kind} cannot be read ({reason}); pass a NumPy array"
        ) from error


def as_bytes(buffer: bytearray | memoryview) -> bytes:
    """Copy a buffer that holds a file.

    Raises:
        InputError: It is a view of something else than bytes.
    """
    if isinstance(buffer, memoryview) and (buffer.ndim != 1 or buffer.itemsize != 1):
        raise InputError("<memoryview>", "is not a view of a file's bytes; pass the array itself")
    return bytes(buffer)


def read_file(file: Any) -> tuple[str, bytes]:
    """Read the rest of an open file, or of an upload, and return its name with it.

    An upload of a web framework whose own ``read`` is asynchronous is read through its attribute ``file``.

    Raises:
        InputError: The file was opened as text, is at its end, has no end, or cannot be read.
    """
    name = next((name for name in _names(file) if isinstance(name, str | os.PathLike)), "<file>")
    name = os.fsdecode(name).encode("utf-8", "backslashreplace").decode()
    if inspect.iscoroutinefunction(file.read):
        inner = getattr(file, "file", None)
        if not is_file_object(inner) or inspect.iscoroutinefunction(inner.read):
            raise InputError(name, _ASYNCHRONOUS)
        file = inner
    if isinstance(file, io.TextIOBase):
        raise _is_text(name, file)
    parts: list[bytes] = []
    size = 0
    try:
        # Piece by piece, because a pipe gives what it has, and a size that is asked for may be reserved.
        while size <= MAX_BYTES and (part := file.read(_PIECE)):
            if inspect.iscoroutine(part):
                part.close()
                raise InputError(name, _ASYNCHRONOUS)
            if not isinstance(part, bytes | bytearray | memoryview):
                raise _is_text(name, file)
            parts.append(bytes(part))
            size += len(part)
    except InputError:
        raise
    except Exception as error:  # a closed file raises ValueError, and a file of another library anything
        raise InputError(name, f"cannot be read ({' '.join(str(error).split())})") from error
    if size > MAX_BYTES:
        raise InputError(name, f"has more than {MAX_BYTES >> 20} MB; save it to a file, and pass its path")
    if not parts and _place(file):
        raise InputError(name, "is at its end already; rewind it with seek(0)")
    return name, b"".join(parts)


def _is_text(name: str, file: object) -> InputError:
    return InputError(name, f"{type(file).__name__} is open as text; open it in binary mode, as in open(path, 'rb')")


def refusal(value: object) -> str:
    """Say that something is no input, by the name of its type."""
    kind = type(value).__name__
    wanted = "pass paths, bytes, open files, arrays, PIL images or lists of them"
    if value is None:
        return "got None, as cv2.imread returns for a file that it cannot read; pass the path"
    if is_table(value):
        return f"cannot read pictures from a {kind}; pass its column of paths"
    if is_response(value):
        return f"cannot read a picture from a {kind}; pass its content, which is bytes"
    if isinstance(value, Mapping):
        return f"cannot read pictures from a {kind}; pass a list of its values"
    return f"cannot read a picture from {kind}; {wanted}"


def _names(file: Any) -> tuple[object, ...]:
    # In an upload, `filename` is the file of the sender, and `name` may be the field of the form.
    return getattr(file, "filename", None), getattr(file, "name", None)


def _place(file: Any) -> int:
    try:
        return int(file.tell())
    except Exception:  # noqa: BLE001 - a pipe has no place
        return 0
