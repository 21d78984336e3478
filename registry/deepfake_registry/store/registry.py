"""A content-addressed store of models, safe under concurrent writers and whenever one is killed.

::

    blobs/sha256/<aa>/<hash>                        every file, each manifest too, named by its content
    models/<name>/<version>/manifest.json           written last and never changed: it makes the version exist
    models/<name>/<version>/reports/<hash>.json     benchmark reports of this version
    models/<name>/<version>/signatures/<hash>.sig   detached signatures of the manifest
    aliases/<name>/<alias>/<number>.json            one record for each move; the highest number counts

A manifest names each file with its sha256, and is itself the copy of a blob, so nothing can change unnoticed.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.files import cache_folder, new_folder
from deepfake_registry.manifest import MANIFEST_FILE, FileRef, parse_manifest
from deepfake_registry.names import check_name, check_paths, is_name, split_reference
from deepfake_registry.published import Published, folder_of, inside, manifest_path, read_package, same
from deepfake_registry.store.aliases import Aliases, AliasMove
from deepfake_registry.store.blobs import Blobs, blob_path, reference_to
from deepfake_registry.store.signing import require_signature, sign_bytes
from deepfake_registry.store.storage import LocalStorage, Storage


class Registry:
    """Models by name and version, and aliases that point at them.

    Args:
        storage: Where everything is kept.
        key: File with a public key: :meth:`trusted`, and all that rests on it, then refuses what is not signed by it.
        cache: Folder for verified copies of files of a registry that is elsewhere.
    """

    def __init__(self, storage: Storage, *, key: Path | None = None, cache: Path | None = None) -> None:
        self.storage = storage
        self.key = key
        self.blobs = Blobs(storage, "push the model again from an intact copy")
        self.aliases = Aliases(storage)
        self._cache = cache

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────

    def push(self, folder: str | Path, reports: Iterable[bytes] = ()) -> tuple[Published, bool]:
        """Publish a packaged model; the very same one again changes nothing, and mends damaged blobs.

        Args:
            folder: With ``manifest.json`` and the files that it lists.
            reports: Benchmark reports to keep with it.

        Returns:
            The version, and whether it is new.

        Raises:
            RegistryError: The version exists with other content, or its name or version cannot stand in a registry.
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
            self._attach(package, "reports", ".json", report)
        try:
            self.storage.create(manifest_path(manifest.name, manifest.version), package.text)
        except FileExistsError:
            existing = self.published(manifest.name, manifest.version)
            package = same(existing, package)
        # A collection of garbage that began before this push may just have taken an old blob away: look again.
        if not all(self.blobs.has(file.sha256) for file in [*package.files, reference_to(package.text)]):
            self._store_files(package, Path(folder))
        return package, existing is None

    def attach_report(self, published: Published, report: bytes) -> str:
        """Keep a benchmark report with a version; gives the hex sha256 that names it."""
        return self._attach(published, "reports", ".json", report)

    def sign(self, published: Published, private_key: Path) -> str:
        """Sign a version's manifest, and with it every file; gives the hex sha256 that names the signature.

        Args:
            published: The version.
            private_key: PEM file with an elliptic-curve key, without a password.

        Raises:
            MissingExtra: The library for signatures is not installed.
            DeepfakeError: The key cannot be used.
        """
        return self._attach(published, "signatures", ".sig", sign_bytes(published.text, private_key))

    def move(self, name: str, alias: str, version: str, *, reason: str, **details: Any) -> AliasMove:
        """Point an alias at a version; what it pointed at before stays in its history.

        Args:
            name: The model.
            alias: Such as ``"production"``; made when it does not exist.
            version: An existing one.
            reason: Why, in a few words.
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
        """Names of all models, in alphabetical order."""
        return sorted({name for name, _ in self._published_paths("models")})

    def versions(self, name: str) -> list[str]:
        """Versions of a model, in alphabetical order; none where there is no such model."""
        return sorted(version for _, version in self._published_paths(f"models/{check_name('name', name)}"))

    def resolve(self, reference: str) -> Published:
        """``"name@version"`` or ``"name@alias"``; the model is not yet trusted, see :meth:`trusted`.

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
        """As :meth:`resolve`, and signed where a key is set.

        Raises:
            SignatureRefused: There is no signature by that key.
            RegistryError, ArtifactCorrupt: As for :meth:`resolve`.
        """
        published = self.resolve(reference)
        if self.key is not None:
            self.check_signature(published, self.key)
        return published

    def published(self, name: str, version: str) -> Published:
        """One version, by its very name.

        Raises:
            RegistryError: There is none.
            ArtifactCorrupt: Its manifest is damaged.
        """
        found = self._find(name, version)
        if found is None:
            raise RegistryError(f"{name}@{version}: not in the registry {self.storage.url}; {self._known(name)}")
        return found

    def fetch(self, file: FileRef) -> Path:
        """A file's content on this machine, verified just now.

        In a registry on this machine that is the blob itself, else a copy in the cache.

        Raises:
            ArtifactCorrupt: It is missing or damaged, in the registry or in the cache.
        """
        path = blob_path(file.sha256)
        if self.storage.folder is not None:
            self.blobs.verify(file)
            return self.storage.folder / path
        cache = LocalStorage(self._cache or cache_folder() / "registry")
        if cache.exists(path):
            Blobs(cache, "delete this copy, it will be fetched again").verify(file)
        else:
            self.blobs.copy_to(cache, path, file)
        return cache.root / path

    def pull(self, published: Published, folder: str | Path) -> Path:
        """Write a version as a packaged model: the folder appears whole or not at all.

        Args:
            published: From :meth:`trusted`.
            folder: One that does not exist yet, or is empty.

        Raises:
            DeepfakeError: The folder is there already, or the disk is full.
            ArtifactCorrupt: A file is missing or damaged in the registry.
        """
        with new_folder(folder) as half:
            storage = LocalStorage(half)
            for file in published.manifest.files.values():
                self.blobs.copy_to(storage, file.path, file)
            storage.create(MANIFEST_FILE, published.text)
        return Path(folder)

    def reports(self, published: Published) -> list[str]:
        """Hex sha256 of each benchmark report that is kept with a version."""
        return self._attached(published, "reports", ".json")

    def read_report(self, published: Published, sha256: str) -> bytes:
        """One of its reports.

        Raises:
            ArtifactCorrupt: It is missing or damaged.
        """
        return self._read_attached(f"{folder_of(published)}/reports/{sha256}.json", sha256)

    def signatures(self, published: Published) -> list[str]:
        """Hex sha256 of each signature of a version."""
        return self._attached(published, "signatures", ".sig")

    def read_signatures(self, published: Published) -> list[bytes]:
        """All signatures of a version, by whomever.

        Raises:
            ArtifactCorrupt: One is damaged.
        """
        folder = f"{folder_of(published)}/signatures"
        return [self._read_attached(f"{folder}/{sha256}.sig", sha256) for sha256 in self.signatures(published)]

    def check_signature(self, published: Published, public_key: Path) -> None:
        """See that one of a version's signatures is by a key.

        Raises:
            SignatureRefused: None is.
            MissingExtra: The library for signatures is not installed.
            DeepfakeError: The key cannot be read.
        """
        what = f"{published.reference} in {self.storage.url}"
        require_signature(published.text, self.read_signatures(published), public_key, what)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────

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
        """What there is instead, for a message."""
        if versions := self.versions(name):
            return f"versions: {', '.join(versions)}; aliases: {', '.join(self.aliases.names(name)) or 'none'}"
        names = self.names()
        close = difflib.get_close_matches(name, names, n=1)
        return f"did you mean {close[0]!r}?" if close else f"models: {', '.join(names) or 'none'}"

    def _attach(self, published: Published, kind: str, suffix: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        with suppress(FileExistsError):
            self.storage.create(f"{folder_of(published)}/{kind}/{digest}{suffix}", data)
        return digest

    def _attached(self, published: Published, kind: str, suffix: str) -> list[str]:
        paths = self.storage.files(f"{folder_of(published)}/{kind}")
        return [path.rpartition("/")[2].removesuffix(suffix) for path in paths]

    def _read_attached(self, path: str, sha256: str) -> bytes:
        try:
            data = self.storage.read(path)
        except FileNotFoundError:
            raise ArtifactCorrupt(f"{self.storage.where(path)}: missing; add it again") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ArtifactCorrupt(f"{self.storage.where(path)}: damaged; delete it and add it again")
        return data
