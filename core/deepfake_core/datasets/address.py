"""The address of a dataset, ``NAME:PATH?key=value&…``, as a user types it and as messages write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address.

    Attributes:
        name: Name of the layout; empty if the layout is to be recognised.
        path: Path of the dataset; may be empty if the layout needs none.
        options: Keyword arguments for the class of the layout, as text.
    """

    name: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "&".join(f"{key}={as_option(value)}" for key, value in self.options.items())
        return f"{self.name}{':' if self.name else ''}{self.path}{'?' if options else ''}{options}"

    def changed(self, **options: str) -> Address:
        """Return the same address with other values of some options."""
        return replace(self, options={**self.options, **options})


def as_option(value: str) -> str:
    """Return the value of an option as it is written in an address, so that it is read back unchanged."""
    return value.replace("%", "%25").replace("&", "%26").replace("?", "%3F")
