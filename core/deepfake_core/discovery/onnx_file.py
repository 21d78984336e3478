"""Read what an ONNX file says about itself, from its bytes alone: no model is loaded, and onnx is not needed."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from deepfake_core.errors import ArtifactCorrupt

_METADATA_PROPS = 14  # number of the field in onnx.proto
_EXTERNAL_DATA = 13  # of a tensor
_INNER: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Kind of message of onnx.proto → its fields that hold tensors, or messages with tensors inside."""
_FIXED = {1: 8, 5: 4}  # wire type of protobuf → bytes


def onnx_metadata(path: Path) -> dict[str, str]:
    """Return ``ModelProto.metadata_props``: field 14 of the outer protobuf message, entries of key (1) and value (2).

    All other fields, such as the weights, are skipped without being read.

    Raises:
        ArtifactCorrupt: The file cannot be read.
    """
    metadata: dict[str, str] = {}
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            while stream.tell() < size:
                field, length = _next_field(stream, size)
                if field != _METADATA_PROPS:
                    stream.seek(length, os.SEEK_CUR)
                    continue
                end, entry = stream.tell() + length, {1: b"", 2: b""}
                while stream.tell() < end:
                    part, length = _next_field(stream, end)
                    entry[part] = stream.read(length)
                metadata[entry[1].decode()] = entry[2].decode()
    except (ValueError, OSError) as error:
        raise ArtifactCorrupt(f"{path}: not a readable ONNX file ({error})") from error
    return metadata


def refuse_external_data(content: bytes, path: Path) -> None:
    """Refuse a model some of whose weights are in other files: no hash covers them, and they may lie anywhere.

    Args:
        content: The whole file.
        path: Path of the file, for the message.

    Raises:
        ArtifactCorrupt: A tensor is in another file, or the file cannot be read.
    """
    if b"location" not in content:  # the key under which a tensor names its file
        return
    try:
        external = _has_external(io.BytesIO(content), len(content), "model")
    except (ValueError, RecursionError) as error:
        raise ArtifactCorrupt(f"{path}: not a readable ONNX file ({error})") from error
    if external:
        raise ArtifactCorrupt(
            f"{path}: keeps weights in another file, which its hash does not cover; save it as one file, in Python: "
            f"import onnx; onnx.save(onnx.load({path.name!r}), {path.name!r})"
        )


def _has_external(stream: BinaryIO, end: int, kind: str) -> bool:
    """Whether a message of a kind, which ends at an offset, holds a tensor with external data."""
    while stream.tell() < end:
        field, length = _next_field(stream, end, fixed=True)
        if kind == "tensor" and field == _EXTERNAL_DATA:
            return True
        after = stream.tell() + length
        inner = _INNER.get(kind, {}).get(field)
        if inner is not None and _has_external(stream, after, inner):
            return True
        stream.seek(after)
    return False


def _next_field(stream: BinaryIO, end: int, *, fixed: bool = False) -> tuple[int, int]:
    """Read the head of a protobuf field: its number, and the length of its content in bytes (0 for an integer).

    Args:
        stream: Stream at the head of a field.
        end: Offset at which the message ends.
        fixed: Whether numbers of a fixed length are expected, too; there are none outside of tensors and attributes.
    """
    field, wire = divmod(_varint(stream), 8)
    length = _FIXED[wire] if fixed and wire in _FIXED else _varint(stream)
    if field > 0 and wire == 0:
        return field, 0
    if field == 0 or (wire != 2 and not (fixed and wire in _FIXED)) or stream.tell() + length > end:
        raise ValueError(f"unexpected bytes at offset {stream.tell()}")
    return field, length


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("it is cut short")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError(f"unexpected bytes at offset {stream.tell()}")
