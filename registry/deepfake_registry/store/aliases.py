"""Aliases such as ``production``: each move is a record of its own that is never changed, so that nothing is lost."""

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
"""How often another writer may be first before this one gives up."""


class AliasMove(Frozen):
    """One move of an alias.

    Attributes:
        number: 1 for the first move, and so on without gaps.
        version: What it points at from then on.
        manifest_sha256: Hex digest of that version's manifest, so that the alias names this very content.
        created: UTC, ISO 8601.
        reason: Why, in the words of who moved it.
        how: ``alias`` for a plain move; ``promote`` when the documented targets held; ``override`` when they did not
            and it was moved all the same.
        problems: What did not hold.
        report_sha256: The benchmark report that decided, kept with the version; empty when none did.
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
    """The aliases in a storage: ``aliases/<name>/<alias>/<number>.json``."""

    storage: Storage

    def names(self, name: str) -> list[str]:
        """Aliases of a model, in alphabetical order."""
        paths = self.storage.files(f"aliases/{check_name('name', name)}")
        return sorted({path.split("/")[2] for path in paths if len(path.split("/")) == 4})

    def exists(self, name: str, alias: str) -> bool:
        """Whether there is such an alias."""
        return is_name("alias", alias) and bool(self._numbers(name, alias))

    def current(self, name: str, alias: str) -> AliasMove | None:
        """Its last move; ``None`` where there is no such alias.

        Raises:
            ArtifactCorrupt: The record is damaged. An older one is never taken instead.
        """
        numbers = self._numbers(name, alias)
        return self._read(name, alias, numbers[-1]) if numbers else None

    def history(self, name: str, alias: str) -> list[AliasMove]:
        """All its moves, the first one first.

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
        """Append a record; of several writers at once each gets a number of its own.

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
    """The record as JSON, with a sha256 over itself."""
    fields = move.model_dump(mode="json")
    return (json.dumps({**fields, "sha256": _seal(fields)}, indent=2) + "\n").encode()


def _unsealed(text: bytes) -> AliasMove:
    fields = json.loads(text)
    seal = fields.pop("sha256", None)
    if seal != _seal(fields):
        raise ValueError("its sha256 is not that of its content")
    return AliasMove.model_validate(fields)


def _seal(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).partition("\n")[0]
