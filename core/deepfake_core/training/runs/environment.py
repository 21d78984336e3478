"""The environment of a run: commit of the code, installed packages, machine. No failure here ends a run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import Distribution, distributions, version
from pathlib import Path
from typing import Any

from deepfake_core.runtimes.processor import processor_name
from deepfake_core.runtimes.threads import allowed_threads

GIT_TIMEOUT_S = 20.0


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """Return the state of the git checkout that holds ``folder``.

    Args:
        folder: Folder within a checkout. By default the working directory and, where that is in no checkout, the
            folder of this package.

    Returns:
        ``commit`` (``None`` before the first commit), ``branch`` (``None`` on a detached head), ``dirty`` (whether
        tracked files were changed) and ``repository`` (folder of the checkout). Where there is no checkout, all of
        them are ``None``, and ``reason`` says why.
    """
    reasons = []
    for place in (folder,) if folder else (Path.cwd(), Path(__file__).parent):
        try:
            status = _git(place, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
            root = _git(place, "rev-parse", "--show-toplevel")
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(_reason(error))
            continue
        fields = dict(re.findall(r"^# branch\.(oid|head) (.+)$", status, re.MULTILINE))
        return {
            "commit": None if fields.get("oid") == "(initial)" else fields.get("oid"),
            "branch": None if fields.get("head") == "(detached)" else fields.get("head"),
            "dirty": any(not line.startswith("#") for line in status.splitlines()),
            "repository": root.strip(),
        }
    return {"commit": None, "branch": None, "dirty": None, "repository": None, "reason": reasons[0]}


def frozen_requirements() -> str:
    """Return every installed distribution as ``name==version``, one per line, in alphabetical order."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:  # a distribution that was removed incompletely has no name
            key = re.sub(r"[-_.]+", "-", name).lower()
            found.setdefault(key, f"{name}=={distribution.version}{_origin(distribution)}")
    return "".join(f"{found[key]}\n" for key in sorted(found))


def system_state(device: str = "cpu", precision: str = "fp32") -> dict[str, Any]:
    """Return the machine, the versions of its libraries, and the device and precision of the run.

    Args:
        device: Device of the run: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ….
        precision: Precision of the forward pass: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    """
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if cuda and device.startswith("cuda") else processor_name(),
        "precision": precision,
        "mixed_precision": precision != "fp32",
        "cuda_devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        "torch": str(torch.__version__),
        "deepfake_core": version("deepfake-core"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": allowed_threads(),
    }


def _git(folder: Path, *arguments: str) -> str:
    # The file system monitor is switched off, so that git starts no program that the checkout names.
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 - a list, no shell
        command, capture_output=True, text=True, errors="replace", check=True, timeout=GIT_TIMEOUT_S, env=environment
    )
    return done.stdout


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    said = getattr(error, "stderr", None)
    return str(said).strip().splitlines()[0] if isinstance(said, str) and said.strip() else str(error)


def _origin(distribution: Distribution) -> str:
    """Return a comment where the version does not identify the distribution.

    URLs are left out, because they may hold secrets.
    """
    text = distribution.read_text("direct_url.json")
    if not text:
        return ""
    commit = re.search(r'"commit_id":\s*"([0-9a-f]{7,64})"', text)
    if commit:
        return f"  # commit {commit[1]}"
    return "  # editable" if re.search(r'"editable":\s*true', text) else "  # from a local file"
