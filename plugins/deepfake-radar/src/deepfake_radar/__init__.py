"""RADAR: a vision transformer that reasons over boundary and frequency evidence.

``RADAR`` and ``RADARConfig`` import torch on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepfake_radar.network import RADAR, RADARConfig

__all__ = ["RADAR", "RADARConfig"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepfake_core import import_object

    return import_object(f"deepfake_radar.network:{name}", install="deepfake-radar[torch]")
