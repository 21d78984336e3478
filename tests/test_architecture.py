"""The floor plan: folders and files stay small, and docs/architecture.md names what exists."""

from __future__ import annotations

import itertools
import re
import statistics
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("registry/deepfake_registry", "core/deepfake_core", "exports/deepfake_exports", "benchmarks", "plugins")
PAGE = ROOT / "docs" / "architecture.md"


def modules() -> list[Path]:
    found = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py")]
    return [path for path in found if not {"tests", "build"} & set(path.relative_to(ROOT).parts)]


def test_no_folder_holds_more_than_12_modules():
    counts: dict[Path, int] = {}
    for path in (*modules(), *ROOT.rglob("tests/**/*.py")):
        if ".tox" not in path.parts:
            counts[path.parent] = counts.get(path.parent, 0) + 1
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > 12} == {}


def test_modules_are_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    assert statistics.median(lengths.values()) <= 120


def test_the_page_names_files_that_exist():
    page = PAGE.read_text("utf-8")
    answers = re.findall(r"^\| Where .*\| `([\w/.]+\.py)`", page, re.MULTILINE)
    assert len(answers) == 6
    for file in (*answers, *re.findall(r"`((?:tests|deepfake_registry)/[\w/]+\.py)`", page)):
        assert (ROOT / file).is_file() or (ROOT / "registry" / file).is_file(), file
    core = ROOT / "core" / "deepfake_core"
    for name in re.findall(r"`((?:inputs|handle|loading|training|evaluation|datasets)/[\w/]*(?:\.py)?)`", page):
        assert (core / name).exists(), name


def test_the_page_draws_the_rooms_that_the_linter_proves():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (rooms,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["deepfake_core"]]
    layers = [layer.split(" | ") for layer in rooms]
    names = [name for layer in layers for name in layer]
    drawn = PAGE.read_text("utf-8").split("```text")[2].split("```")[0]
    at_start, inside = r"(?m)^ {}\b", r"(?:  |, ){}\b"
    found = {name: re.search(at_start.format(name), drawn) or re.search(inside.format(name), drawn) for name in names}
    assert all(found.values()), found
    places = [[found[name].start() for name in layer] for layer in layers]
    assert all(max(above) < min(below) for above, below in itertools.pairwise(places)), "another order than in the lint"
