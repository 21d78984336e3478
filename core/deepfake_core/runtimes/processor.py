"""Name and identity of the processor."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path


def processor_name() -> str:
    """Return the name of the processor."""
    known = processor_facts()
    return known.get("model name") or known.get("Model") or platform.processor() or platform.machine()


def processor_id() -> str:
    """Return vendor, family, model and stepping of the processor; empty if the system does not state them.

    They tell processors with the same name apart, which occur in virtual machines.
    """
    known = processor_facts()
    found = [known[name] for name in ("vendor_id", "cpu family", "model", "stepping") if name in known]
    return " ".join(found)


@cache
def processor_facts() -> Mapping[str, str]:
    """Return the facts that Linux states about the first processor; empty on other systems.

    They are read once, because the file is long on a machine with many processors.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    facts: dict[str, str] = {}
    for key, value in pairs:
        facts.setdefault(key.strip(), value.strip())
    return facts
