"""Valid names of models, versions, aliases and files; no valid name leads out of its folder."""

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
_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._+-]*[A-Za-z0-9_+-])?")
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that mean a device to Windows, in any folder and with any suffix."""


def check_name(kind: str, text: str) -> str:
    """Return a text if it is a valid name of its kind.

    Args:
        kind: ``"name"``, ``"version"`` or ``"alias"``.
        text: The text.

    Raises:
        RegistryError: It is not valid.
    """
    _, allowed = _PATTERNS[kind]
    if not is_name(kind, text):
        raise RegistryError(
            f"{text!r} cannot be a model's {kind} in a registry; use {allowed}, no mark at an end, and no name that "
            "Windows keeps for a device"
        )
    return text


def is_name(kind: str, text: str) -> bool:
    """Whether a text is a valid name of a kind: ``"name"``, ``"version"`` or ``"alias"``."""
    return _PATTERNS[kind][0].fullmatch(text) is not None and not _DEVICE.fullmatch(text)


def split_reference(text: str) -> tuple[str, str]:
    """Split a reference such as ``"lite@production"`` into the name and the version or alias.

    The second part is empty where the reference has no ``@``.

    Raises:
        RegistryError: One of the two is not a valid name.
    """
    name, mark, wanted = text.partition("@")
    check_name("name", name)
    if mark:
        check_name("version", wanted)  # every valid alias is a valid version, too
    return name, wanted


def check_paths(manifest: ModelManifest, source: str) -> None:
    """Check that every file of a manifest lies in the folder of the model.

    Args:
        manifest: The manifest.
        source: Name of the manifest, for the message.

    Raises:
        ArtifactCorrupt: A path is absolute or a URL, leads out of the folder, or is the manifest's own.
    """
    for reference in manifest.references:
        if not is_safe_path(reference.path) or reference.path.lower() == MANIFEST_FILE:
            raise ArtifactCorrupt(
                f"{source}: lists the file {reference.path!r}, which does not lie in the folder of the model; refused"
            )


def is_safe_path(path: str) -> bool:
    """Whether a path with ``/`` stays in the folder where it starts, on every operating system."""
    return all(_PART.fullmatch(part) and not _DEVICE.fullmatch(part) for part in path.split("/"))


def unique(files: Iterable[FileRef]) -> list[FileRef]:
    """Return one reference for each content, in the order of first appearance."""
    return list({file.sha256: file for file in files}.values())
