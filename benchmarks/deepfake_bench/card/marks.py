"""Marked blocks of Markdown pages: people write the prose, and the text between marks is filled in.

A block has a kind and a name. Blocks may be anywhere in a page, in any order; this one is of the kind ``card``::

    <!-- card: accuracy -->
    <!-- /card -->

The text between the marks is replaced, so that a page can be filled again at any time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from deepfake_core.errors import DeepfakeError
from deepfake_registry.files import write_atomic


def marked(page: Path, kind: str, known: Collection[str]) -> list[str]:
    """Return the names of the blocks of a kind that a page marks.

    Raises:
        DeepfakeError: The page cannot be read, marks no block or one that is not ``known``, or leaves one open.
    """
    text = read_page(page)
    names = [match[2] for match in _blocks(kind).finditer(text)]
    there = f"there are: {', '.join(known)}"
    if not names or len(names) != text.count(f"<!-- {kind}: ") or len(names) != text.count(f"<!-- /{kind} -->"):
        raise DeepfakeError(f"{page}: mark each block by '<!-- {kind}: NAME -->' and '<!-- /{kind} -->'; {there}")
    for name in names:
        if name not in known:
            raise DeepfakeError(f"{page}: unknown block {name!r}; {there}")
    return names


def fill(page: Path, kind: str, contents: Mapping[str, str]) -> None:
    """Write between the marks of a page, whole or not at all; blocks without new contents stay as they are."""
    text = read_page(page)
    if (new := filled(text, kind, contents)) != text:
        write_atomic(page, new)


def filled(text: str, kind: str, contents: Mapping[str, str]) -> str:
    """Return the text of a page with ``contents`` (name → text) between its marks."""

    def block(match: re.Match[str]) -> str:
        content = contents.get(match[2])
        return match[0] if content is None else f"{match[1]}\n{content}\n\n{match[3]}"

    return _blocks(kind).sub(block, text)


def read_page(page: Path) -> str:
    """Return the text of a page.

    Raises:
        DeepfakeError: The page cannot be read.
    """
    try:
        return page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeepfakeError(f"{page}: cannot be read ({error}); write its prose and mark its blocks first") from error


def _blocks(kind: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {kind}: (\S+) -->\n).*?(<!-- /{kind} -->)", re.DOTALL)
