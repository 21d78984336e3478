"""What is wrong with a path that leads nowhere."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path, PurePosixPath

# A single letter before the colon is a drive of Windows. A path object keeps only one of two slashes.
_ADDRESS = re.compile(r"(?P<scheme>data|file|[a-z][a-z0-9+.-]+(?=:/)):(?P<slashes>/*)(?P<rest>.*)", re.I | re.S)


def why_missing(path: str | os.PathLike[str]) -> str:
    """Say why there is no file or folder at a path, and what to do.

    Args:
        path: Path as the user gave it.
    """
    path = os.fspath(path)
    if reason := why_no_path(path):
        return reason
    trimmed = path.strip(" \t\r\n\"'")
    if trimmed != path and _exists(trimmed):
        return f"no such file, but without the blanks or quotation marks around it there is one: {trimmed}"
    if path.startswith("~"):
        return "no such file; only a shell replaces ~ by the home folder: write the whole path"
    if "\\" in path and os.sep == "/":
        turned = path.replace("\\", "/")
        if _exists(turned):
            return f"no such file, but with / instead of \\ there is one: {turned}"
        return "no such file; this system writes / between folders, not \\ as Windows does"
    if glob.has_magic(path):
        return "no file matches this pattern; check the path"
    return "no such file; check the path"


def why_no_path(path: str | os.PathLike[str]) -> str:
    """Say why an address, or the sign for standard input, is no path; an empty text for any other.

    Args:
        path: Path as the user gave it.
    """
    path = os.fspath(path)
    if path == "-":
        return "standard input is not read here; name a file or folder"
    if (address := _ADDRESS.match(path)) is None:
        return ""
    known = {
        "data": "is a data: address; decode it, and pass the bytes",
        "file": "is a file: address; pass the path in it",
    }
    name = PurePosixPath(re.split(r"[?#]", address["rest"])[0]).name
    return known.get(
        address["scheme"].lower(),
        "is an address, and addresses are not fetched; download it first" + (f", then name {name}" if name else ""),
    )


def as_typed(path: str | os.PathLike[str]) -> str:
    """Return a path for a message: an address with both slashes, of which a path object keeps only one."""
    text = os.fspath(path)
    address = _ADDRESS.match(text)
    single = address is not None and address["slashes"] == "/" and address["scheme"].lower() not in ("data", "file")
    return f"{address['scheme']}://{address['rest']}" if address and single else text


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
