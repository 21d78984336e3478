"""Leave out of a run what its environment cannot run: the base install has no torch, some have no OpenVINO."""

from __future__ import annotations

import ast
import logging
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

# Modules that are torch all through. A test that reaches torch by any other module fails without it, as it should:
# that is how the environment `slim` shows that the base install works.
TORCH_SIDE = (
    "accelerate",
    "onnx",
    "safetensors",
    "sklearn",
    "timm",
    "torch",
    "crop_stores",  # a maker of test files, which prepares stores of crops
    "deepfake_core.contract.detector",
    "deepfake_core.data.crops",
    "deepfake_core.runtimes.torch",
    "deepfake_core.testing",
    "deepfake_core.training",
    "deepfake_exports",
    "deepfake_lite.detector",
)
SIDES = {
    "torch": TORCH_SIDE,
    "openvino": ("openvino", "deepfake_exports.formats.openvino"),
}
MARKED = {"torch": "torch", "torchscript": "torch", "openvino": "openvino"}

# What a timing would choose changes with the machine and the moment; tests of the choice take this away.
os.environ.setdefault("DEEPFAKE_BACKEND", "onnxruntime")
# Tables fit the terminal: in tests each is as wide as in a pipe.
os.environ["COLUMNS"] = "100"
# No test fails because the machine is busy.
hypothesis.settings.register_profile("deepfake", deadline=None)
hypothesis.settings.load_profile("deepfake")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it starts in the background ignore Ctrl-C, which some tests send to programs of theirs.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def level_of_messages() -> Iterator[None]:
    """Give each test the same level of messages: a command sets it for its process, which a test shares with others."""
    messages = logging.getLogger("deepfake")
    before = messages.level
    yield
    messages.setLevel(before)


def imports(path: Path) -> set[str]:
    """Names of the modules that a file imports at its top level."""
    found = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def needs(path: Path, modules: tuple[str, ...]) -> bool:
    """Whether a file imports one of ``modules``, or a module inside of one."""
    return any(name == module or name.startswith(f"{module}.") for name in imports(path) for module in modules)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Ignore test modules that need a package which is absent."""
    if not (collection_path.name.startswith("test_") and collection_path.suffix == ".py"):
        return None
    absent = (side for module, side in SIDES.items() if find_spec(module) is None)
    return any(needs(collection_path, side) for side in absent) or None


@pytest.hookimpl(tryfirst=True)  # before pytest selects by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the contract's tests of single formats, and skip tests that carry the mark of an absent package."""
    for item in items:
        # The contract itself carries no marks, which the projects of other authors would have to register.
        if (mark := item.name.removeprefix("test_exports_to_")) in MARKED:
            item.add_marker(mark)
    for mark, module in MARKED.items():
        if find_spec(module) is None:
            for item in items:
                if item.get_closest_marker(mark):
                    item.add_marker(pytest.mark.skip(reason=f"{module} is not installed"))
