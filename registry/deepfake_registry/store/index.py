"""What a registry holds, as data: for listings and for other programs."""

from __future__ import annotations

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.manifest import FileRef, Frozen
from deepfake_registry.store.registry import Registry


class Entry(Frozen):
    """One version of a model.

    Attributes:
        name: The model.
        version: Of the model; ``name@version`` loads it.
        manifest_sha256: Hex digest of its manifest: it stands for the whole model.
        aliases: Those that point at it.
        signatures: How many, by whomever; none has been checked.
        reports: Hex sha256 of the benchmark reports that are kept with it.
    """

    name: str
    version: str
    manifest_sha256: str
    architecture: str
    kind: str
    weights: str
    summary: str
    license: str
    files: dict[str, FileRef]
    aliases: tuple[str, ...]
    signatures: int
    reports: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Size of its files together."""
        return sum(file.size_bytes for file in self.files.values())


class Index(Frozen):
    """Everything in a registry.

    Attributes:
        models: In alphabetical order.
        problems: What could not be read, in words.
    """

    schema_version: int = 1
    models: tuple[Entry, ...]
    problems: tuple[str, ...] = ()


def make_index(registry: Registry) -> Index:
    """Read every manifest and every alias; what is damaged is named among the problems."""
    entries: list[Entry] = []
    problems: list[str] = []
    for name in registry.names():
        pointing: dict[str, list[str]] = {}
        for alias in registry.aliases.names(name):
            try:
                version = registry.resolve(f"{name}@{alias}").manifest.version
            except DeepfakeError as error:
                problems.append(str(error))
            else:
                pointing.setdefault(version, []).append(alias)
        for version in registry.versions(name):
            try:
                entries.append(describe(registry, name, version, pointing.get(version, [])))
            except DeepfakeError as error:
                problems.append(str(error))
    return Index(models=tuple(entries), problems=tuple(dict.fromkeys(problems)))


def describe(registry: Registry, name: str, version: str, aliases: list[str]) -> Entry:
    """One version, with the aliases that are known to point at it.

    Raises:
        RegistryError: There is no such version.
        ArtifactCorrupt: Its manifest is damaged.
    """
    published = registry.published(name, version)
    manifest = published.manifest
    return Entry(
        name=name,
        version=version,
        manifest_sha256=published.sha256,
        architecture=manifest.architecture,
        kind=manifest.kind,
        weights=manifest.weights,
        summary=manifest.summary,
        license=manifest.license,
        files=manifest.files,
        aliases=tuple(aliases),
        signatures=len(registry.signatures(published)),
        reports=tuple(registry.reports(published)),
    )
