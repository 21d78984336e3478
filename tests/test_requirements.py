"""Every requirement of the five unified systems is cited by a test, and docs/requirements.md says which.

``python tests/test_requirements.py`` writes the page anew.
"""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "requirements.md"

CITED = re.compile(r"\b(\d{3})-(\d{1,2})\b((?:(?:, | and )\d{1,2}\b(?!-))*)")
SHOWN = 4  # tests named in a row, at most

HEAD = """# Requirements

What users of the five unified systems rely on, and the test that shows it. This page is made from the tests, which
cite the IDs; a test fails when it is out of date or when a requirement is cited nowhere. Documented numbers are
targets of the detectors: [`dfbench run`](cli.md) measures them and says `met`, `missed` or `not measurable here`.
"""


def requirements() -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Texts by source and number, and reasons by ID."""
    tables = tomllib.loads((ROOT / "tests" / "requirements.toml").read_text("utf-8"))
    reasons = tables.pop("elsewhere")
    return tables, reasons


def citations() -> dict[str, list[str]]:
    """ID → the tests that cite it, as ``path::test``; what no test function holds counts for its file."""
    folders = [*(ROOT / floor / "tests" for floor in ("core", "registry", "exports", "benchmarks")), ROOT / "tests"]
    folders += sorted((ROOT / "plugins").glob("deepfake-*/tests"))
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if path != Path(__file__):
                for place, text in _pieces(path):
                    for identifier in _ids(text):
                        places = found.setdefault(identifier, [])
                        if place not in places:
                            places.append(place)
    return found


def _pieces(path: Path) -> list[tuple[str, str]]:
    """The test functions of a file with their text, decorators and comments included, then what lies outside."""
    source = path.read_text("utf-8")
    lines = source.splitlines()
    name = path.relative_to(ROOT).as_posix()
    pieces, inside = [], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
            span = range(first, node.end_lineno or node.lineno)
            inside |= set(span)
            pieces.append((f"{name}::{node.name}", "\n".join(lines[number] for number in span)))
    rest = "\n".join(line for number, line in enumerate(lines) if number not in inside)
    return [*pieces, (name, rest)]


def _ids(text: str) -> list[str]:
    return [
        f"{source}-{int(number)}"
        for source, first, more in CITED.findall(text)
        for number in (first, *re.findall(r"\d+", more))
    ]


def page() -> str:
    """The text of docs/requirements.md."""
    tables, reasons = requirements()
    cited = citations()
    parts = [HEAD]
    for source, rows in tables.items():
        parts.append(f"## {source} · {rows['title']}\n\n| ID | requirement | shown by |\n|---|---|---|")
        for number, text in rows.items():
            if number != "title":
                identifier = f"{source}-{number}"
                places = sorted(cited.get(identifier, []), key=lambda place: "::" not in place)
                shown = "<br>".join(f"`{place}`" for place in places[:SHOWN])
                reason = f"not shown: {reasons[identifier]}" if identifier in reasons else ""
                parts.append(f"| {identifier} | {text} | {'<br>'.join(filter(None, (reason, shown)))} |")
        parts.append("")
    return "\n".join(parts)


def test_every_requirement_has_a_test():
    tables, reasons = requirements()
    wanted = {f"{source}-{number}" for source, rows in tables.items() for number in rows if number != "title"}
    missing = wanted - citations().keys() - reasons.keys()
    assert not missing, f"no test cites {', '.join(sorted(missing))}"


def test_the_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == page(), "run: python tests/test_requirements.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
