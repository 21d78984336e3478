"""A tiny detector, installed as a plugin would be: its folder with entry points is put on ``sys.path``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfake_core.discovery import plugins

TINY = Path(__file__).parent / "tiny_plugin"


@pytest.fixture
def fresh_plugins() -> Iterator[None]:
    """Plugins are discovered anew in this test, and anew after it."""
    plugins.catalogue.cache_clear()
    yield
    plugins.catalogue.cache_clear()


@pytest.fixture
def tiny(fresh_plugins: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The detectors ``tiny`` and ``tiny-bare`` are installed; gives the package of ``tiny``."""
    monkeypatch.syspath_prepend(TINY)
    yield TINY / "deepfake_tiny" / "weights"
    for name in [name for name in sys.modules if name.split(".")[0] == "deepfake_tiny"]:
        del sys.modules[name]
