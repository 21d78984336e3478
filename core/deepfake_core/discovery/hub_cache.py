"""The cache of the Hugging Face Hub on this machine, by its documented layout (imports nothing heavy).

``<cache>/models--owner--name/refs/<revision>`` holds a commit, and ``snapshots/<commit>/`` the files of that commit.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from deepfake_core.errors import DeepfakeError
from deepfake_registry.folders import expanded

_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_cache() -> Path:
    """Return the folder of the cache, as the environment variables of the Hub's library name it.

    Raises:
        DeepfakeError: No variable names it, and the home folder is unknown.
    """
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return expanded(named or Path(home, "hub"))


def cached_snapshot(repository: str, revision: str | None = None) -> Path | None:
    """Return the folder of a revision in the cache; ``None`` where it is not there.

    Args:
        repository: ``owner/name``.
        revision: Branch, tag or full commit; by default ``main``.
    """
    try:
        folder = hub_cache() / f"models--{repository.replace('/', '--')}"
    except DeepfakeError:  # without a home folder there is no cache
        return None
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (folder / "refs" / commit).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def cached_weights(repository: str) -> Path | None:
    """Return the folder of a revision in the cache, if weights are in it.

    Args:
        repository: ``owner/name`` or ``owner/name@revision``.
    """
    name, _, revision = repository.partition("@")
    snapshot = cached_snapshot(name, revision or None)
    return snapshot if snapshot is not None and any(snapshot.glob("*.safetensors")) else None
