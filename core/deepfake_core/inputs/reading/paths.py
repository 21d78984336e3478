"""What is wrong with a path that leads nowhere."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

# A single letter before the colon is a drive of Windows. A path object keeps only one of two slashes.
_ADDRESS = re.compile(r"(data|file|[a-z][a-z0-9+.-]+(?=:/)):", re.IGNORECASE)


def why_missing(path: str) -> str:
    """Say why there is no file at a path, and what to do.

    Args:
        path: Path as the user gave it.
    """
    if address := _ADDRESS.match(path):
        return _NO_ADDRESS.get(address[1].lower(), "is an address, and no network is used; download the file first")
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


_NO_ADDRESS = {
    "data": "is a data: address; decode it, and pass the bytes",
    "file": "is a file: address; pass the path in it",
}


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
