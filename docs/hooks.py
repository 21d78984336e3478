"""Pages made from the code when the site is built, so that they cannot be out of date."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, text in (("cli.md", cli_page()), ("report.md", report_page()), ("hooks-reference.md", hooks_page())):
        files.append(File.generated(config, name, content=text))
    return files


def cli_page() -> str:
    """Every command of ``dfbench`` with its help, as the program itself prints it."""
    from deepfake_bench.cli import app

    intro = "# Command line\n\nWhat `dfbench --help` and `dfbench COMMAND --help` print."
    return "\n\n".join([intro, *_commands(typer.main.get_command(app), "dfbench", None)])


def _commands(command: Any, name: str, parent: Any) -> Iterator[str]:
    with command.context_class(command, info_name=name, parent=parent, terminal_width=100) as context:
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
        for child in getattr(command, "commands", {}):
            yield from _commands(command.commands[child], child, context)


def report_page() -> str:
    """Fields of the JSON report, from its schema."""
    from deepfake_bench.records.report import schema

    full = schema()
    intro = (
        "# Report\n\n`dfbench run --json FILE` writes this. Numbers are in the unit that the field's name carries "
        "(`_ms`, `_s`, `_mb`); what could not be measured is `null`."
    )
    records = {full["title"]: full, **full.get("$defs", {})}
    sections = [_record(name, record) for name, record in records.items()]
    return "\n\n".join([intro, *sections, "## JSON Schema", f"```json\n{json.dumps(full, indent=2)}\n```"])


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

    parts = ["# Hooks", _text(hookspecs.__doc__)]
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
