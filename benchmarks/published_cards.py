"""The blocks of model cards that need no measurement, because the packaged weights keep what they show.

The card of a detector that ships with weights is the README of its plugin, where that has marked blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deepfake_bench.card import marks
from deepfake_bench.card.blocks import OF_PACKAGE
from deepfake_bench.card.card import KIND, blocks_of
from deepfake_bench.card.findings import Findings
from deepfake_core import load
from deepfake_core.discovery import plugins
from deepfake_registry.provenance import read_terms

PAGE = "README.md"
TERMS = "provenance.toml"
"""File beside the page: the sources of the training data, and their terms."""


def carded(root: Path) -> list[str]:
    """Return the names of the detectors that ship with weights and have a card, ``lite`` first."""
    shipped = [name for name, item in plugins.detectors().items() if item.spec.weights is not None]
    pages = {name: folder_of(root, name) / PAGE for name in shipped}
    names = [name for name, page in pages.items() if page.is_file() and f"<!-- {KIND}: " in marks.read_page(page)]
    return sorted(names, key=lambda name: (name != "lite", name))


def folder_of(root: Path, name: str) -> Path:
    """Return the folder of a detector's plugin."""
    return root / "plugins" / f"deepfake-{name}"


def filled_cards(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the page of each detector that has a card, and its text with what the packaged weights keep.

    Raises:
        DeepfakeError: The marks of a page are faulty, or the file of terms cannot be read.
    """
    for name in carded(root):
        page, terms = (folder_of(root, name) / file for file in (PAGE, TERMS))
        blocks_of(page)
        known = read_terms(terms) if terms.is_file() else ()
        findings = Findings(load(name).manifest, None, None, (), known)
        made = {block.__name__: block(findings) for block in OF_PACKAGE}
        yield page, marks.filled(marks.read_page(page), KIND, made)
