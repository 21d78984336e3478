"""Standard input as an input of a command, by the name ``-``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from deepfake_core.errors import DeepfakeError

if TYPE_CHECKING:
    from deepfake_core.inputs.sources import Source


def opened(path: str) -> str | Source:
    """Return a path unchanged, but for ``-`` the content of standard input; a file of that name is ``./-``.

    Raises:
        DeepfakeError: Standard input is closed, or it is a terminal.
        InputError: Standard input cannot be read, or has no end within the limit.
    """
    if path != "-":
        return path
    from deepfake_core.inputs.reading.memory import read_file
    from deepfake_core.inputs.sources import Source

    if sys.stdin is None or sys.stdin.closed:
        raise DeepfakeError("-: standard input is closed; name a file instead")
    if sys.stdin.isatty():
        raise DeepfakeError("-: standard input is a terminal; send a file to it, as in: dfbench predict - < photo.jpg")
    return Source("<stdin>", read_file(sys.stdin.buffer)[1])
