"""Weights in repositories of the Hugging Face Hub: in its cache on this machine, or in any folder of that layout.

Only the cache is read unless a download is asked for, and pickled weights are never opened.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from deepfake_core.contract.repository import CONFIG, INDEX, WEIGHTS, Repository
from deepfake_core.discovery.hub_cache import cached_snapshot, hub_cache
from deepfake_core.errors import InputError, MissingExtra, WeightsUnavailable

DOWNLOADED = (CONFIG, "preprocessor_config.json", "README.md", WEIGHTS, INDEX, "model-*.safetensors")
ADVICE = ("use --download (download=True), or run: {fetch}", "name another repository or a folder: --weights PATH")
_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def find_repository(
    name: str | Path, *, download: bool = False, install: str = "huggingface_hub", advice: tuple[str, ...] = ADVICE
) -> Repository:
    """Find a repository on this machine; or download it, where that is asked for.

    Args:
        name: Folder, or ``owner/name`` or ``owner/name@revision`` on the Hub. A folder that exists is taken first.
        download: Whether to ask the Hub, and to download what is missing here.
        install: Requirement that brings the Hub's library, for downloads.
        advice: What helps where it is not on this machine, and what else would; ``{fetch}`` stands for the command
            that downloads it.

    Raises:
        WeightsUnavailable: It is not in the cache, or cannot be downloaded; the message says what would help.
        InputError: There is no such folder, and this is no name on the Hub.
        MissingExtra: The Hub's library is not installed.
    """
    if Path(name).is_dir():
        return Repository(str(name), Path(name))
    text = str(name)
    parts = _ID.fullmatch(text)
    if parts is None or text.startswith(".") or "--" in parts["repo"] or ".." in text:
        raise InputError(text, "no such folder, and not a repository of the Hugging Face Hub (owner/name)")
    fetch = f"hf download {parts['repo']}" + (f" --revision {parts['revision']}" if parts["revision"] else "")
    offline = "HF_HUB_OFFLINE=1 forbids downloads, unset it; then " if _offline() else ""
    first, *others = (remedy.format(fetch=fetch) for remedy in advice)
    advice = (offline + first, *others)
    cache = hub_cache()
    kept = cached_snapshot(parts["repo"], parts["revision"])
    folder = kept
    if download:
        folder = _download(text, parts["repo"], parts["revision"], cache, advice, install)
    if folder is None:
        raise WeightsUnavailable(f"{text} is not in the Hugging Face cache {cache}; {advice[0]}", *others)
    return Repository(text, folder, folder.name, cache, cached=folder == kept, advice=advice)


def _offline() -> bool:
    """Whether the environment forbids the Hub's library to use the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def _download(name: str, repo: str, revision: str | None, cache: Path, advice: tuple[str, ...], install: str) -> Path:
    try:
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ModuleNotFoundError:
        raise MissingExtra("downloading from the Hugging Face Hub", install) from None
    try:
        return Path(snapshot_download(repo, revision=revision, cache_dir=cache, allow_patterns=list(DOWNLOADED)))
    except HFValidationError as error:
        raise InputError(name, f"not a repository of the Hugging Face Hub: {error}") from error
    except (OSError, httpx.HTTPError) as error:  # every other error of the Hub's library is one of the two
        reason = " ".join(str(error).split())
        raise WeightsUnavailable(f"{name} cannot be downloaded: {reason}; {advice[0]}", *advice[1:]) from error
