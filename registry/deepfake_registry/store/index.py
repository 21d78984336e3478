"""Describe the content of a registry as data, for listings and for other programs."""

from __future__ import annotations

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.manifest import FileRef, Frozen
from deepfake_registry.store.registry import Registry


class Entry(Frozen):
    """One version of a model.

    Attributes:
        name: Name of the model.
        version: Version of the model; ``name@version`` loads it.
        manifest_sha256: Hex digest of the manifest, which identifies the whole model.
        architecture: Detector that builds the network.
        kind: ``image`` or ``video``.
        weights: Status of the weights: ``trained``, ``pretrained`` or ``untrained``.
        summary: Summary in the manifest.
        license: Licence in the manifest.
        files: Format → file of the model.
        training_groups: File with hashes of what the model was trained and validated on, where it has one.
        aliases: Aliases that point at this version.
        signatures: Number of its signatures, by any key; none has been checked.
        reports: Hex sha256 of the benchmark reports that are kept with this version.
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
    training_groups: FileRef | None = None
    aliases: tuple[str, ...]
    signatures: int
    reports: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Total size of its files, in bytes."""
        groups = [self.training_groups] if self.training_groups else []
        return sum(file.size_bytes for file in [*self.files.values(), *groups])


class Index(Frozen):
    """All versions of all models in a registry.

    Attributes:
        models: The versions, in alphabetical order.
        problems: Messages about what could not be read.
    """

    schema_version: int = 1
    models: tuple[Entry, ...]
    problems: tuple[str, ...] = ()


def make_index(registry: Registry) -> Index:
    """Read every manifest and every alias of a registry; damage is listed among the problems."""
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
    """Describe one version of a model.

    Args:
        registry: The registry.
        name: Name of the model.
        version: Version of the model.
        aliases: Aliases that point at this version.

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
        training_groups=manifest.training_groups,
        aliases=tuple(aliases),
        signatures=len(registry.signatures(published)),
        reports=tuple(registry.reports(published)),
    )
