"""Experimental: energy by the counters of the processor, where the system lets them be read.

Linux shows the counters of Intel's and AMD's RAPL as ``/sys/class/powercap/intel-rapl:*/energy_uj``, in microjoules;
most systems let only root read them. A counter is that of a whole package, whichever program uses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

POWERCAP = Path("/sys/class/powercap")
NOTE = "joules of whole processor packages (RAPL), other programs' share included; memory and accelerators are not"


class Energy:
    """Counter of the energy of ``with`` blocks, which adds up over several blocks (experimental).

    Args:
        root: Folder of the counters.

    Attributes:
        joules: Energy so far in J; ``None`` where no counter can be read.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        # Zones within a package are counted by the package already, and a zone of the whole platform counts packages.
        self._zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _name(zone).startswith("package")]
        self.joules: float | None = 0.0 if _read(self._zones) else None

    def __enter__(self) -> Self:
        self._start = _read(self._zones)
        return self

    def __exit__(self, *_: object) -> None:
        end = _read(self._zones)
        if self.joules is None or self._start.keys() != end.keys():
            self.joules = None
            return
        for zone, after in end.items():
            used = after - self._start[zone]
            self.joules += (used if used >= 0 else used + _number(zone / "max_energy_range_uj")) / 1e6

    def per(self, name: str, count: int) -> dict[str, float]:
        """Return ``joules_per_{name}`` for ``count`` of them; nothing where no counter can be read."""
        return {} if self.joules is None or not count else {f"joules_per_{name}": self.joules / count}

    def conditions(self) -> dict[str, str]:
        """Return what the figure includes; nothing where there is no figure."""
        return {} if self.joules is None else {"joules": NOTE}


def _read(zones: list[Path]) -> dict[Path, int]:
    """Return the counters that can be read, in µJ."""
    found = {}
    for zone in zones:
        try:
            found[zone] = _number(zone / "energy_uj")
        except (OSError, ValueError):
            continue
    return found


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text()
    except OSError:
        return ""


def _number(file: Path) -> int:
    return int(file.read_text())
