"""What the site has beside the pages in ``docs``: pages and parts of pages that are made when it is built.

Links in the pages are those of the repository; here they are changed to those of the site.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("plugins/deepfake-*/README.md", "exports/PARITY.md")
"""Pages of the site that lie outside of ``docs``."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere in the repository, under the same path."""
    for pattern in ELSEWHERE:
        for page in sorted(ROOT.glob(pattern)):
            name = page.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, content=page.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """Return the text of a page with the links of the site, and with what is made from the code."""
    made = {"cli.md": cli_page, "report.md": report_page, "hooks-reference.md": hooks_page}.get(page.file.src_uri)
    text = site_links(markdown, page.file.src_uri, {file.src_uri for file in files})
    return f"{text}\n\n{made()}" if made else text


def site_links(markdown: str, uri: str, site: Container[str]) -> str:
    """Return the text with links from one page of the site to another.

    Args:
        markdown: Text of the page with the links of the repository. What links to a file that is not on the site
            becomes plain text.
        uri: Path of the page on the site: that in the repository, without ``docs/``.
        site: Paths of all files of the site.
    """
    home = posixpath.dirname(uri if uri.startswith(("plugins/", "exports/")) else f"docs/{uri}")

    def changed(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(home, target))
        if not target or "://" in target or not (ROOT / path).exists():
            return match[0]
        there = path.removeprefix("docs/")
        return f"[{text}]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{anchor})" if there in site else text

    return re.sub(r"\[([^]]*)\]\(([^)#\s]*)((?:#[^)\s]*)?)\)", changed, markdown)


def cli_page() -> str:
    """Every command of ``dfbench`` with its help, as the program itself prints it."""
    from deepfake_bench.cli import app

    return "\n\n".join(_commands(typer.main.get_command(app), "dfbench", None))


def _commands(command: Any, name: str, parent: Any) -> Iterator[str]:
    with command.context_class(command, info_name=name, parent=parent, terminal_width=100) as context:
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
        for child in getattr(command, "commands", {}):
            yield from _commands(command.commands[child], child, context)


def report_page() -> str:
    """Fields of the JSON report, from its schema."""
    from deepfake_bench.records.report import schema

    full = schema()
    records = {full["title"]: full, **full.get("$defs", {})}
    sections = [_record(name, record) for name, record in records.items()]
    return "\n\n".join([*sections, "## JSON Schema", f"```json\n{json.dumps(full, indent=2)}\n```"])


def _record(name: str, record: dict[str, Any]) -> str:
    rows = [f"| `{field}` | {_type(spec)} |" for field, spec in record.get("properties", {}).items()]
    table = "\n".join(["| field | type |", "|---|---|", *rows])
    return f"## {name}\n\n{_text(record.get('description'))}\n\n{table}"


def _type(spec: dict[str, Any]) -> str:
    if "$ref" in spec:
        target = spec["$ref"].rsplit("/", 1)[-1]
        return f"[{target}](#{target.lower()})"
    if "anyOf" in spec:
        return " or ".join(_type(option) for option in spec["anyOf"])
    if "enum" in spec:
        return " or ".join(f"`{value}`" for value in spec["enum"])
    if spec.get("type") == "array" and "items" in spec:
        return f"list of {_type(spec['items'])}"
    return f"`{spec['const']}`" if "const" in spec else str(spec.get("type", "any"))


def hooks_page() -> str:
    """The hooks that a plugin implements and the records that they yield: signatures and docstrings."""
    from deepfake_core.contract import hookspecs, specs

    parts = [_text(hookspecs.__doc__)]
    for name, hook in hooks(hookspecs).items():
        parts += [f"## {name}", f"```python\n{signature(name, hook)}\n```", _text(hook.__doc__)]
    records = (specs.DetectorSpec, specs.DatasetSpec, specs.ExplainerSpec, specs.ProtectorSpec, specs.ExporterSpec)
    for record in (*records, specs.Target):
        parts += [f"## {record.__name__}", _text(record.__doc__)]
    return "\n\n".join(parts)


def hooks(module: Any) -> dict[str, Callable[[], Iterable[Any]]]:
    """The hooks that a module declares, by name."""
    return {name: hook for name, hook in vars(module).items() if name.startswith("deepfake_") and callable(hook)}


def signature(name: str, hook: Callable[[], Iterable[Any]]) -> str:
    """How a hook is declared, on one line."""
    return f"def {name}{inspect.signature(hook)}".replace("'", "")


def _text(docstring: str | None) -> str:
    """A docstring as it stands: its indented examples and attribute lists are part of how it reads."""
    return f"```text\n{inspect.cleandoc(docstring)}\n```" if docstring else ""
