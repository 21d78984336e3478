"""Maintain a registry: verify all files, delete files that nothing refers to, and compare versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.manifest import FileRef, Frozen
from deepfake_registry.published import Published
from deepfake_registry.store.blobs import FOLDER, blob_path, is_blob, reference_to
from deepfake_registry.store.registry import Registry

T = TypeVar("T")

GRACE = timedelta(days=7)
"""Age from which an unused file is deleted; no push takes as long."""


class Verified(NamedTuple):
    """Numbers of what was verified, and messages about what is damaged."""

    versions: int
    moves: int
    blobs: int
    problems: list[str]


class Collected(NamedTuple):
    """Full names of files that nothing refers to, and their total size in bytes."""

    files: list[str]
    size_bytes: int


class Change(Frozen):
    """A field in which two manifests differ, with both values as JSON; ``None`` where a manifest lacks the field."""

    field: str
    before: object
    after: object


def verify(registry: Registry) -> Verified:
    """Read every file of a registry and compare it with its hash; damage is listed and nothing is changed."""
    problems: list[str] = []
    found = registry.storage.files(FOLDER)
    problems += [f"{registry.storage.where(path)}: no file of a registry" for path in found if not is_blob(path)]
    stray = {path.rpartition("/")[2] for path in found if is_blob(path)}
    count, versions, moves = len(stray), 0, 0
    for name in registry.names():
        for version in registry.versions(name):
            published = _tried(problems, registry.published, name, version)
            if published is None:
                continue
            versions += 1
            for file in [*published.files, reference_to(published.text)]:
                stray.discard(file.sha256)
                _tried(problems, registry.blobs.verify, file)
            for report in registry.reports(published):
                _tried(problems, registry.read_report, published, report)
            _tried(problems, registry.read_signatures, published)
        for alias in registry.aliases.names(name):
            history = _tried(problems, registry.aliases.history, name, alias) or []
            moves += len(history)
            if history:
                _tried(problems, registry.resolve, f"{name}@{alias}")
    for sha256 in sorted(stray):  # blobs of pushes that did not finish
        path = blob_path(sha256)
        expected = FileRef(path=sha256, sha256=sha256, size_bytes=registry.storage.stat(path).size_bytes)
        _tried(problems, registry.blobs.verify, expected)
    return Verified(versions, moves, count, list(dict.fromkeys(problems)))


def collect(
    registry: Registry, *, grace: timedelta = GRACE, delete: bool = False, now: datetime | None = None
) -> Collected:
    """Find blobs that no manifest refers to, and half-written files, if they are older than the grace period.

    A blob that a push is about to refer to is newer than that, because a push marks its blobs as new. Blobs are listed
    before manifests, so that a manifest which is written meanwhile is taken into account.

    Args:
        registry: The registry.
        grace: Age that a file must have.
        delete: Whether to delete the files; otherwise they are only listed.
        now: Time from which ages are counted; by default the present.

    Raises:
        ArtifactCorrupt: A manifest is damaged, so that the files that it refers to are unknown; nothing is deleted.
    """
    limit = (now or datetime.now(UTC)) - grace
    storage = registry.storage
    old = [path for path in storage.files(FOLDER) if is_blob(path) and storage.stat(path).modified < limit]
    referenced = {
        file.sha256
        for name in registry.names()
        for published in map(partial(registry.published, name), registry.versions(name))
        for file in [*published.files, reference_to(published.text)]
    }
    files: list[str] = []
    size_bytes = 0
    for path in old:
        size, modified = storage.stat(path)
        if path.rpartition("/")[2] in referenced or modified >= limit:  # a push has just begun to refer to it
            continue
        if delete:
            storage.delete(path)
        files.append(storage.where(path))
        size_bytes += size
    for file in _half_written(storage.folder, limit):
        files.append(str(file))
        size_bytes += file.stat().st_size
        if delete:
            file.unlink()
    return Collected(files, size_bytes)


def differences(before: Published, after: Published) -> list[Change]:
    """Return the fields in which two manifests differ, with dotted names in alphabetical order."""
    old, new = (dict(_flat(item.manifest.model_dump(mode="json"))) for item in (before, after))
    fields = sorted(field for field in old.keys() | new.keys() if old.get(field) != new.get(field))
    return [Change(field=field, before=old.get(field), after=new.get(field)) for field in fields]


def _tried(problems: list[str], call: Callable[..., T], *arguments: Any) -> T | None:
    """Return the result of a call; where it raises a DeepfakeError, add its message to the problems and return None."""
    try:
        return call(*arguments)
    except DeepfakeError as error:
        problems.append(str(error))
        return None


def _half_written(root: Path | None, limit: datetime) -> list[Path]:
    """Return the temporary files that killed processes left on this machine and that are older than the limit."""
    own = [root / name for name in ("blobs", "models", "aliases")] if root is not None else []
    found = [file for folder in own for file in folder.rglob(".*.tmp")]
    return sorted(file for file in found if datetime.fromtimestamp(file.stat().st_mtime, UTC) < limit)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries by their dotted names; a list is a leaf."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else key)
