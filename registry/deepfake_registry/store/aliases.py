"""Aliases such as ``production``: each move is a separate record that never changes, so that the history is kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, ValidationError

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.manifest import Frozen
from deepfake_registry.names import check_name, is_name
from deepfake_registry.store.storage import Storage

_ATTEMPTS = 1000
"""Number of times that another writer may be faster before this one gives up."""


class AliasMove(Frozen):
    """One move of an alias.

    Attributes:
        number: Number of the move: 1 for the first one, and so on without gaps.
        name: Name of the model.
        alias: The alias.
        version: Version that the alias points at from this move on.
        manifest_sha256: Hex digest of the manifest of this version, so that the alias names its exact content.
        created: Time of the move: UTC, ISO 8601.
        reason: Reason for the move, in the words of the person who made it.
        how: ``alias`` for a plain move; ``promote`` when the documented targets were met; ``override`` when something
            spoke against the model and the alias was moved nevertheless.
        problems: What spoke against the model, such as targets that were not met, in words.
        report_sha256: Hex digest of the benchmark report that the move rests on, which is kept with the version; empty
            without a report.
    """

    schema_version: Literal[1] = 1
    number: int = Field(gt=0)
    name: str
    alias: str
    version: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str
    reason: str
    how: Literal["alias", "promote", "override"] = "alias"
    problems: tuple[str, ...] = ()
    report_sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases in a storage: ``aliases/<name>/<alias>/<number>.json``.

    Attributes:
        storage: Storage of the registry.
    """

    storage: Storage

    def names(self, name: str) -> list[str]:
        """Return the aliases of a model, in alphabetical order."""
        paths = self.storage.files(f"aliases/{check_name('name', name)}")
        return sorted({path.split("/")[2] for path in paths if len(path.split("/")) == 4})

    def exists(self, name: str, alias: str) -> bool:
        """Whether a model has an alias of this name."""
        return is_name("alias", alias) and bool(self._numbers(name, alias))

    def current(self, name: str, alias: str) -> AliasMove | None:
        """Return the last move of an alias; ``None`` where there is no such alias.

        Raises:
            ArtifactCorrupt: The record is damaged; an older one is never used instead.
        """
        numbers = self._numbers(name, alias)
        return self._read(name, alias, numbers[-1]) if numbers else None

    def history(self, name: str, alias: str) -> list[AliasMove]:
        """Return all moves of an alias, the oldest first.

        Raises:
            RegistryError: There is no such alias.
            ArtifactCorrupt: A record is damaged or missing.
        """
        numbers = self._numbers(name, alias)
        if not numbers:
            known = ", ".join(self.names(name)) or "none"
            raise RegistryError(f"{name} has no alias {alias!r} in {self.storage.url}; aliases: {known}")
        return [self._read(name, alias, number) for number in range(1, numbers[-1] + 1)]

    def move(self, name: str, alias: str, version: str, **details: Any) -> AliasMove:
        """Append a move to an alias; of several writers at once, each gets a different number.

        Args:
            name: Name of the model.
            alias: The alias; it is created when it does not exist.
            version: Version that it points at from now on.
            **details: Other fields of :class:`AliasMove`.

        Raises:
            RegistryError: The storage cannot be written.
        """
        for _ in range(_ATTEMPTS):
            numbers = self._numbers(name, alias)
            move = AliasMove(
                number=numbers[-1] + 1 if numbers else 1,
                name=name,
                alias=alias,
                version=version,
                created=datetime.now(UTC).isoformat(timespec="milliseconds"),
                **details,
            )
            try:
                self.storage.create(_path(name, alias, move.number), _sealed(move))
            except FileExistsError:
                continue
            return move
        raise RegistryError(f"{name}@{alias} in {self.storage.url} is moved by others all the time; try again")

    def _numbers(self, name: str, alias: str) -> list[int]:
        folder = _path(name, alias, 1).rpartition("/")[0]
        stems = [path.rpartition("/")[2].removesuffix(".json") for path in self.storage.files(folder)]
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def _read(self, name: str, alias: str, number: int) -> AliasMove:
        path = _path(name, alias, number)
        where = self.storage.where(path)
        try:
            move = _unsealed(self.storage.read(path))
        except FileNotFoundError:
            raise ArtifactCorrupt(f"{where}: missing from the alias' history; restore it from a copy") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ArtifactCorrupt(
                f"{where}: damaged ({_first_line(error)}); restore it from a copy, or move the alias again"
            ) from error
        if (move.name, move.alias, move.number) != (name, alias, number):
            raise ArtifactCorrupt(f"{where}: is the record of another move; restore it from a copy")
        return move


def _path(name: str, alias: str, number: int) -> str:
    return f"aliases/{check_name('name', name)}/{check_name('alias', alias)}/{number:06d}.json"


def _sealed(move: AliasMove) -> bytes:
    """Return a record as JSON, with the sha256 of its other fields."""
    fields = move.model_dump(mode="json")
    return (json.dumps({**fields, "sha256": _seal(fields)}, indent=2) + "\n").encode()


def _unsealed(text: bytes) -> AliasMove:
    """Parse a record, and raise ValueError where its sha256 does not match."""
    fields = json.loads(text)
    seal = fields.pop("sha256", None)
    if seal != _seal(fields):
        raise ValueError("its sha256 is not that of its content")
    return AliasMove.model_validate(fields)


def _seal(fields: dict[str, Any]) -> str:
    """Return the hex sha256 of the fields of a record."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).partition("\n")[0]
