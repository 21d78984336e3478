"""The template plugin, copied and renamed, is a detector in another environment."""

from __future__ import annotations

import ast
import json
import os
import re
import site
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import deepfake_core

TEMPLATE = Path(__file__).parents[1] / "plugins" / "_template"

pytestmark = pytest.mark.skipif(
    find_spec("hatchling") is None and "CI" not in os.environ,
    reason="hatchling, which builds plugins, is not installed",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template in which the detector is called ``mine``."""
    target = tmp_path_factory.mktemp("plugin") / "deepfake-mine"
    for file in (path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        renamed = target / Path(*(part.replace("template", "mine") for part in file.relative_to(TEMPLATE).parts))
        renamed.parent.mkdir(parents=True, exist_ok=True)
        renamed.write_text(file.read_text().replace("template", "mine").replace("Template", "Mine"))
    return target


@pytest.fixture(scope="module")
def python(project: Path) -> str:
    """The interpreter of a new environment that has the copy installed, and borrows everything else from ours."""
    environment = project.parent / "venv"
    venv.create(environment, symlinks=True)
    interpreter = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (packages,) = environment.rglob("site-packages")
    borrowed = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = [f"import site; site.addsitedir({path!r})" for path in borrowed]
    (packages / "borrowed.pth").write_text("\n".join(lines) + "\n")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", str(project)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(interpreter), *install], check=True)
    return str(interpreter)


def run(python: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run([python, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_listed_with_its_distribution(python: str, tmp_path: Path) -> None:
    listing = json.loads(run(python, "-m", "deepfake_bench", "list", "--format", "json", cwd=tmp_path))
    (mine,) = [entry for entry in listing["detectors"] if entry["name"] == "mine"]
    assert mine["distribution"].startswith("deepfake-mine")


@pytest.mark.torch
def test_loads_and_judges(python: str, tmp_path: Path) -> None:
    code = (
        "from deepfake_core import load\n"
        "from deepfake_core.testing import draw_face\n"
        "result = load('mine', untrained=True, device='cpu').predict(draw_face())\n"
        "print(result.detector, result.weights, len(result.faces))"
    )
    assert run(python, "-c", code, cwd=tmp_path).split() == ["mine", "0", "untrained", "1"]


@pytest.mark.torch
def test_benchmarked_and_stamped_untrained(python: str, tmp_path: Path) -> None:
    run(python, "-m", "deepfake_bench", "run", "--device", "cpu", "--detector", "mine", "--seconds", "0.05",
        "--json", "report.json", cwd=tmp_path)  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    measured = {row["scenario"]: row for row in report["measurements"] if row["status"] == "measured"}
    assert "single_stream" in measured
    assert "accuracy" not in measured, "an untrained network gets no accuracy"
    assert all(row["weights"] == "untrained" for row in measured.values())


@pytest.mark.torch
def test_passes_its_own_contract(python: str, project: Path) -> None:
    # It has no marks, which a project would have to register.
    pytest_strictly = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", "-W", "error")
    assert " passed" in run(python, *pytest_strictly, str(project), cwd=project)


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of each ``from … import …`` of our packages in a source file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("deepfake_core", "deepfake_registry")):
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_it_imports_from_the_core_itself_and_its_testing_alone() -> None:
    for file in TEMPLATE.rglob("*.py"):
        assert {module for module, _ in imports(file)} <= {"deepfake_core", "deepfake_core.testing"}, file


def test_every_plugin_imports_public_names_from_the_core_itself() -> None:
    files = sorted(TEMPLATE.parent.glob("*/src/*/**/*.py"))
    assert len(files) > 20
    for file in files:
        for module, name in imports(file):
            assert module == "deepfake_core" or name not in deepfake_core._HOMES, f"{file}: {module}.{name}"


def test_the_page_for_authors_names_what_they_can_import() -> None:
    page = (TEMPLATE.parents[1] / "docs" / "write-a-detector.md").read_text(encoding="utf-8").split("## The targets")[0]
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named <= set(deepfake_core._HOMES)
    contract = ("deepfake_core.contract.", "deepfake_core.training.recipes.presets", "deepfake_registry.manifest")
    assert {name for name, home in deepfake_core._HOMES.items() if home.startswith(contract)} <= named
