"""How far logits of other programs are from ours, kept for the page that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from deepfake_registry.files import write_atomic


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--differences", metavar="FILE", help="JSON file that takes the largest differences of logits")


@pytest.fixture(scope="session")
def differences(request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, float]]]:
    """Program → model → largest difference, relative where a logit exceeds 1."""
    found: dict[str, dict[str, float]] = {}
    yield found
    if file := request.config.getoption("--differences", default=None):
        write_atomic(file, json.dumps(found, indent=1) + "\n")
