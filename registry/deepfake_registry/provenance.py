"""Read the sources and terms of training images from a TOML file that a plugin brings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.manifest import Frozen


class SourceTerms(Frozen):
    """A source of images or weights: one ``[[source]]`` table of the file.

    Attributes:
        name: Name of the source, as in the manifest's provenance.
        role: Role of the source, as in the manifest's provenance; empty where the terms hold for every role.
        what: Description of the source, and the work to cite.
        terms: Licence, in the words of its owners.
        use: Purposes that it was used for.
        shown: Whether the terms allow that its pictures are shown to the public, such as in a model card.
    """

    name: str
    role: str = ""
    what: str
    terms: str
    use: str = "training, validation"
    shown: bool = False


def read_terms(file: Path) -> tuple[SourceTerms, ...]:
    """Read the ``[[source]]`` tables of a TOML file.

    Raises:
        DeepfakeError: The file cannot be read, or a table lacks a field or has an unknown one.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))["source"]
        return tuple(SourceTerms.model_validate(table) for table in tables)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValidationError) as error:
        fields = ", ".join(SourceTerms.model_fields)
        raise DeepfakeError(f"{file}: not a list of [[source]] tables with {fields}: {error}") from error


def find_terms(known: Iterable[SourceTerms], name: str, role: str) -> SourceTerms | None:
    """Return the first entry for a source in a role; ``None`` where there is none.

    Args:
        known: The entries.
        name: Name of the source.
        role: ``"real"`` or ``"fake"``.
    """
    return next((item for item in known if item.name == name and item.role in ("", role)), None)
