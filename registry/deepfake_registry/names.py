"""What models, versions, aliases and files may be called, so that no name leaves its folder."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.manifest import MANIFEST_FILE, FileRef, ModelManifest

_PATTERNS = {
    "name": (re.compile(r"[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?"), "small letters, digits, '.', '_' and '-'"),
    "version": (re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+-]{0,98}[A-Za-z0-9])?"), "letters, digits, '.', '_', '+', '-'"),
    "alias": (re.compile(r"[a-z]([a-z0-9_-]{0,62}[a-z0-9])?"), "small letters, digits, '_', '-', a letter first"),
}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")


def check_name(kind: str, text: str) -> str:
    """The text itself, when it may be a ``"name"``, a ``"version"`` or an ``"alias"``.

    Raises:
        RegistryError: It may not.
    """
    pattern, allowed = _PATTERNS[kind]
    if not pattern.fullmatch(text):
        raise RegistryError(f"{text!r} cannot be a model's {kind} in a registry; use {allowed}, and no mark at an end")
    return text


def is_name(kind: str, text: str) -> bool:
    """Whether the text may be a name of that kind."""
    return _PATTERNS[kind][0].fullmatch(text) is not None


def split_reference(text: str) -> tuple[str, str]:
    """``"lite@production"`` as its name and what stands behind the ``@``; empty where nothing does.

    Raises:
        RegistryError: One of the two cannot be such a name.
    """
    name, mark, wanted = text.partition("@")
    check_name("name", name)
    if mark:
        check_name("version", wanted)  # every alias could be a version too
    return name, wanted


def check_paths(manifest: ModelManifest, source: str) -> None:
    """See that every file of a manifest lies in its own folder.

    Raises:
        ArtifactCorrupt: One is absolute, a URL, leads out of the folder, or takes the manifest's own place.
    """
    for reference in manifest.files.values():
        if not is_safe_path(reference.path) or reference.path.lower() == MANIFEST_FILE:
            raise ArtifactCorrupt(
                f"{source}: lists the file {reference.path!r}, which does not lie in the folder of the model; refused"
            )


def is_safe_path(path: str) -> bool:
    """Whether a path with ``/`` stays below where it starts, on every system."""
    return all(_PART.fullmatch(part) for part in path.split("/"))


def unique(files: Iterable[FileRef]) -> list[FileRef]:
    """One reference for each content, in the order of their first."""
    return list({file.sha256: file for file in files}.values())
