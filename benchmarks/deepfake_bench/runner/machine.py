"""Description of the machine and the libraries that a report is made with."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata

from deepfake_bench.records.report import Machine, Measurement, Report
from deepfake_core.runtimes.processor import processor_id, processor_name
from deepfake_core.runtimes.threads import allowed_threads

LIBRARIES = (
    "av",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "timm",
    "torch",
    "transformers",
)


def make_report(measurements: Sequence[Measurement]) -> Report:
    """Return a report of measurements that were made on this machine just now."""
    return Report(
        project_version=metadata.version("deepfake-core"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        measurements=list(measurements),
    )


def describe_machine() -> Machine:
    """Describe the machine, with the versions of the libraries that affect speed and scores."""
    return Machine(
        cpu=processor_name(),
        cpu_id=processor_id(),
        cores=os.cpu_count() or 1,
        allowance=allowed_threads(),
        memory_mb=_memory_mb(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory_mb() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
