"""Text that is safe to show: file names may hold anything."""

from __future__ import annotations

import unicodedata

# Controls (terminal escape sequences), format characters (text direction), lone surrogates (undecodable bytes)
# and line separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """Return the text with every character that could move the cursor or reorder a line as an escape sequence."""
    if text.isprintable():  # most are, and tables hold many
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _UNSAFE else char for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that the file system's encoding could not decode
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
