"""Find repositories of the Hugging Face Hub with weights: in its cache on this machine, or in a local folder.

Nothing is downloaded unless a download is requested. Pickled weights are never opened.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_core.contract.repository import CONFIG, INDEX, WEIGHTS, Repository
from deepfake_core.discovery.hub_cache import cached_snapshot, hub_cache
from deepfake_core.errors import InputError, MissingExtra, WeightsUnavailable

log = logging.getLogger("deepfake.locks")

DOWNLOADED = (CONFIG, "preprocessor_config.json", "README.md", WEIGHTS, INDEX, "model-*.safetensors")
ADVICE = ("use --download (download=True), or run: {fetch}", "name another repository or a folder: --weights PATH")
_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def find_repository(
    name: str | Path, *, download: bool = False, install: str = "huggingface_hub", advice: tuple[str, ...] = ADVICE
) -> Repository:
    """Find a repository on this machine, or download it on request.

    Args:
        name: Path of a folder, or ``owner/name`` or ``owner/name@revision`` on the Hub. An existing folder takes
            precedence.
        download: Whether to ask the Hub for the repository and download the files that are missing in the cache.
        install: Requirement that installs the library of the Hub, which downloads need; for the error message.
        advice: Remedies for the error message if the repository is not on this machine; ``{fetch}`` stands for the
            command that downloads it.

    Raises:
        WeightsUnavailable: The repository is not in the cache, or cannot be downloaded; the message lists remedies.
        InputError: There is no such folder, and the name is not one that the Hub allows.
        MissingExtra: A download is requested, and the library of the Hub is not installed.
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
    """Tell whether the environment forbids the library of the Hub to use the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def _download(name: str, repo: str, revision: str | None, cache: Path, advice: tuple[str, ...], install: str) -> Path:
    try:
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ModuleNotFoundError:
        raise MissingExtra("downloading from the Hugging Face Hub", install) from None
    try:
        with _told_of_waits():
            return Path(snapshot_download(repo, revision=revision, cache_dir=cache, allow_patterns=list(DOWNLOADED)))
    except HFValidationError as error:
        raise InputError(name, f"not a repository of the Hugging Face Hub: {error}") from error
    except (OSError, httpx.HTTPError) as error:  # all other errors of the Hub's library are of these types
        reason = " ".join(str(error).split())
        raise WeightsUnavailable(f"{name} cannot be downloaded: {reason}; {advice[0]}", *advice[1:]) from error


class _Waits(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.warning("%s", record.getMessage())


@contextmanager
def _told_of_waits() -> Iterator[None]:
    """Within the block, show the lines in which the library of the Hub says for which lock of its cache it waits."""
    waits, handler = logging.getLogger("huggingface_hub.utils._fixes"), _Waits(logging.INFO)
    before = waits.level
    waits.setLevel(logging.INFO)
    waits.addHandler(handler)
    try:
        yield
    finally:
        waits.removeHandler(handler)
        waits.setLevel(before)
