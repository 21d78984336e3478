"""A content-addressed store of models, which stays valid under concurrent writers and when a writer is killed.

::

    blobs/sha256/<aa>/<hash>                        every file and every manifest, named by its content
    models/<name>/<version>/manifest.json           written last and never changed; a version exists once it is there
    models/<name>/<version>/reports/<hash>.json     benchmark reports of this version
    models/<name>/<version>/signatures/<hash>.sig   detached signatures of the manifest
    aliases/<name>/<alias>/<number>.json            one record for each move; the highest number counts

A manifest states the sha256 of each file and is itself a copy of a blob, so that every change is detected.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.files import new_folder
from deepfake_registry.folders import cache_folder
from deepfake_registry.manifest import MANIFEST_FILE, FileRef, parse_manifest
from deepfake_registry.names import check_name, check_paths, is_name, split_reference
from deepfake_registry.published import Published, inside, manifest_path, read_package, same
from deepfake_registry.store.aliases import Aliases, AliasMove
from deepfake_registry.store.attachments import Attachments
from deepfake_registry.store.blobs import Blobs, blob_path, reference_to
from deepfake_registry.store.local import LocalStorage
from deepfake_registry.store.signing import require_signature, sign_bytes
from deepfake_registry.store.storage import Storage


class Registry:
    """A registry: models by name and version, and aliases that point at versions.

    Args:
        storage: Storage of its files.
        key: File with a public key. If given, :meth:`trusted` refuses every model that is not signed by this key.
        cache: Folder for verified copies of files, where the registry is not on this machine.
    """

    def __init__(self, storage: Storage, *, key: Path | None = None, cache: Path | None = None) -> None:
        self.storage = storage
        self.key = key
        self.blobs = Blobs(storage, "push the model again from an intact copy")
        self.aliases = Aliases(storage)
        self._reports = Attachments(storage, "reports", ".json")
        self._signatures = Attachments(storage, "signatures", ".sig")
        self._cache = cache

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────

    def push(self, folder: str | Path, reports: Iterable[bytes] = ()) -> tuple[Published, bool]:
        """Publish a packaged model; to publish the same model again changes nothing but replaces damaged blobs.

        Args:
            folder: Folder with ``manifest.json`` and the files that it lists.
            reports: Benchmark reports to keep with the version.

        Returns:
            The version, and whether it is new.

        Raises:
            RegistryError: The version exists with other content, or its name or version is not a valid one.
            ArtifactCorrupt: A file is missing, damaged, or lies outside of the folder.
        """
        package = read_package(Path(folder))
        manifest = package.manifest
        if self.aliases.exists(manifest.name, manifest.version):
            raise RegistryError(f"{package.reference} is an alias in {self.storage.url}; give the version another name")
        existing = self._find(manifest.name, manifest.version)
        package = same(existing, package) if existing else package
        self._store_files(package, Path(folder))
        for report in reports:
            self._reports.add(package, report)
        try:
            self.storage.create(manifest_path(manifest.name, manifest.version), package.text)
        except FileExistsError:
            existing = self.published(manifest.name, manifest.version)
            package = same(existing, package)
        # A garbage collection that began before this push may just have deleted an old blob, so check again.
        if not all(self.blobs.has(file.sha256) for file in [*package.files, reference_to(package.text)]):
            self._store_files(package, Path(folder))
        return package, existing is None

    def attach_report(self, published: Published, report: bytes) -> str:
        """Keep a benchmark report with a version, and return the hex sha256 that names it."""
        return self._reports.add(published, report)

    def sign(self, published: Published, private_key: Path) -> str:
        """Sign the manifest of a version, and thereby all its files; return the hex sha256 that names the signature.

        Args:
            published: Version to sign.
            private_key: PEM file with an elliptic-curve key that has no password.

        Raises:
            MissingExtra: The library for signatures is not installed.
            DeepfakeError: The key cannot be used.
        """
        return self._signatures.add(published, sign_bytes(published.text, private_key))

    def move(self, name: str, alias: str, version: str, *, reason: str, **details: Any) -> AliasMove:
        """Point an alias at a version; the version that it pointed at before stays in its history.

        Args:
            name: Name of the model.
            alias: Alias, such as ``"production"``; it is created when it does not exist.
            version: An existing version.
            reason: Reason for the move, in a few words.
            **details: Other fields of :class:`AliasMove`.

        Raises:
            RegistryError: There is no such version, or the alias has the name of a version.
        """
        published = self.published(name, version)
        check_name("alias", alias)
        if self._find(name, alias) is not None:
            raise RegistryError(f"{name}@{alias} is a version in {self.storage.url}; give the alias another name")
        return self.aliases.move(name, alias, version, manifest_sha256=published.sha256, reason=reason, **details)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────

    def names(self) -> list[str]:
        """Return the names of all models, in alphabetical order."""
        return sorted({name for name, _ in self._published_paths("models")})

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, in alphabetical order; none where there is no such model."""
        return sorted(version for _, version in self._published_paths(f"models/{check_name('name', name)}"))

    def resolve(self, reference: str) -> Published:
        """Find the version that a reference means, without checking signatures (:meth:`trusted` checks them).

        Args:
            reference: ``"name@version"`` or ``"name@alias"``.

        Raises:
            RegistryError: There is no such model, version or alias.
            ArtifactCorrupt: The manifest or the alias is damaged.
        """
        name, wanted = split_reference(reference)
        if not wanted:
            raise RegistryError(f"{reference}: name a version or an alias too, as {name}@…; {self._known(name)}")
        move = self.aliases.current(name, wanted) if is_name("alias", wanted) else None
        found = self._find(name, wanted)
        if found is not None and move is not None:
            raise RegistryError(f"{reference} is both a version and an alias in {self.storage.url}; use another alias")
        if found is not None:
            return found
        if move is None:
            raise RegistryError(f"{reference}: not in the registry {self.storage.url}; {self._known(name)}")
        published = self.published(name, move.version)
        if published.sha256 != move.manifest_sha256:
            raise ArtifactCorrupt(
                f"{reference} was pointed at another {published.reference} than the registry now holds; find out who "
                f"replaced {self.storage.where(manifest_path(name, move.version))}, then move the alias again"
            )
        return published

    def trusted(self, reference: str) -> Published:
        """Find the version that a reference means, and check its signature where the registry has a key.

        Args:
            reference: ``"name@version"`` or ``"name@alias"``.

        Raises:
            SignatureRefused: The version has no signature by the key.
            RegistryError: There is no such model, version or alias.
            ArtifactCorrupt: The manifest or the alias is damaged.
        """
        published = self.resolve(reference)
        if self.key is not None:
            self.check_signature(published, self.key)
        return published

    def published(self, name: str, version: str) -> Published:
        """Return one version of a model; an alias is not accepted.

        Raises:
            RegistryError: There is no such version.
            ArtifactCorrupt: Its manifest is damaged.
        """
        found = self._find(name, version)
        if found is None:
            raise RegistryError(f"{name}@{version}: not in the registry {self.storage.url}; {self._known(name)}")
        return found

    def fetch(self, file: FileRef) -> Path:
        """Return a path on this machine with the verified content of a file.

        Where the registry is on this machine, this is the blob itself, otherwise a copy in the cache.

        Raises:
            ArtifactCorrupt: The file is missing or damaged, in the registry or in the cache.
        """
        path = blob_path(file.sha256)
        if self.storage.folder is not None:
            self.blobs.verify(file)
            return self.storage.folder / path
        cache = LocalStorage(self._cache or cache_folder(f"registry/{path}") / "registry")
        if cache.exists(path):
            Blobs(cache, "delete this copy, it will be fetched again").verify(file)
        else:
            self.blobs.copy_to(cache, path, file)
        return cache.root / path

    def pull(self, published: Published, folder: str | Path) -> Path:
        """Write a version as a packaged model; the folder appears whole or not at all.

        Args:
            published: Version to write, as :meth:`trusted` returned it.
            folder: Folder to write, which does not exist yet or is empty.

        Raises:
            DeepfakeError: The folder exists and is not empty, or the disk is full.
            ArtifactCorrupt: A file is missing or damaged in the registry.
        """
        with new_folder(folder) as half:
            storage = LocalStorage(half)
            for file in published.manifest.references:
                self.blobs.copy_to(storage, file.path, file)
            storage.create(MANIFEST_FILE, published.text)
        return Path(folder)

    def reports(self, published: Published) -> list[str]:
        """Return the hex sha256 of each benchmark report that is kept with a version."""
        return self._reports.names(published)

    def read_report(self, published: Published, sha256: str) -> bytes:
        """Read a benchmark report of a version.

        Raises:
            ArtifactCorrupt: It is missing or damaged.
        """
        return self._reports.read(published, sha256)

    def signatures(self, published: Published) -> list[str]:
        """Return the hex sha256 of each signature of a version."""
        return self._signatures.names(published)

    def read_signatures(self, published: Published) -> list[bytes]:
        """Read all signatures of a version, by any key.

        Raises:
            ArtifactCorrupt: A signature is damaged.
        """
        return [self._signatures.read(published, sha256) for sha256 in self.signatures(published)]

    def check_signature(self, published: Published, public_key: Path) -> None:
        """Check that a version has a signature by a key.

        Raises:
            SignatureRefused: It has none.
            MissingExtra: The library for signatures is not installed.
            DeepfakeError: The key cannot be read.
        """
        what = f"{published.reference} in {self.storage.url}"
        require_signature(published.text, self.read_signatures(published), public_key, what)

    # ── private ──────────────────────────────────────────────────────────────────────────────────────────────

    def _find(self, name: str, version: str) -> Published | None:
        path = manifest_path(name, version)
        try:
            text = self.storage.read(path)
        except FileNotFoundError:
            return None
        where = self.storage.where(path)
        digest = hashlib.sha256(text).hexdigest()
        if not self.blobs.has(digest):
            raise ArtifactCorrupt(
                f"{where}: damaged, it is not the manifest that was pushed; delete it and push the model again"
            )
        manifest = parse_manifest(text, where)
        if (manifest.name, manifest.version) != (name, version):
            raise ArtifactCorrupt(f"{where}: is the manifest of {manifest.name}@{manifest.version}; delete it")
        check_paths(manifest, where)
        return Published(manifest, text, digest)

    def _store_files(self, package: Published, folder: Path) -> None:
        self.blobs.add_bytes(package.text)
        for file in package.files:
            self.blobs.add(inside(folder, file), file)

    def _published_paths(self, folder: str) -> list[tuple[str, str]]:
        parts = [path.split("/") for path in self.storage.files(folder)]
        return [(part[1], part[2]) for part in parts if len(part) == 4 and part[3] == MANIFEST_FILE]

    def _known(self, name: str) -> str:
        """Describe what the registry does hold, for a message."""
        if versions := self.versions(name):
            return f"versions: {', '.join(versions)}; aliases: {', '.join(self.aliases.names(name)) or 'none'}"
        names = self.names()
        close = difflib.get_close_matches(name, names, n=1)
        return f"did you mean {close[0]!r}?" if close else f"models: {', '.join(names) or 'none'}"
