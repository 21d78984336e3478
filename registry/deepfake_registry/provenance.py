"""Where training pictures come from and on which terms, as a TOML file beside a plugin."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.manifest import Frozen


class SourceTerms(Frozen):
    """Where pictures or weights come from; one ``[[source]]`` table of the file of sources.

    Attributes:
        name: As in the manifest's provenance.
        role: As there; empty when it holds for every role.
        what: What it is, and whom to cite.
        terms: Licence, in its owners' words.
        use: What it was used for.
    """

    name: str
    role: str = ""
    what: str
    terms: str
    use: str = "training, validation"


def read_terms(file: Path) -> tuple[SourceTerms, ...]:
    """The ``[[source]]`` tables of a TOML file.

    Raises:
        DeepfakeError: It cannot be read, or a table lacks a field or has an unknown one.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))["source"]
        return tuple(SourceTerms.model_validate(table) for table in tables)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValidationError) as error:
        fields = ", ".join(SourceTerms.model_fields)
        raise DeepfakeError(f"{file}: not a list of [[source]] tables with {fields}: {error}") from error


def find_terms(known: Iterable[SourceTerms], name: str, role: str) -> SourceTerms | None:
    """The entry for a source in a role (``"real"`` or ``"fake"``): the first that fits."""
    return next((item for item in known if item.name == name and item.role in ("", role)), None)
