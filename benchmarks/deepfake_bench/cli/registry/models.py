"""``dfbench registry ls``, ``show`` and ``diff``: what the registry holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.output.options import Format, Output, RegistryUrl
from deepfake_bench.cli.output.text import pairs, size_text
from deepfake_bench.cli.registry.shared import Reference, print_table
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_registry.store.index import Entry

HEADER = ("model", "aliases", "weights", "files", "size", "signatures", "reports")


def list_models(output: Output = Format.table, registry: RegistryUrl = None) -> None:
    """List all versions of all models, with their aliases.

    Examples:
        dfbench registry ls
        dfbench registry ls --registry s3://models/faces --format json
    """
    from deepfake_registry.store.index import make_index
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry)
    index = make_index(store)
    if output is Format.json:
        typer.echo(json.dumps(index.model_dump(mode="json"), indent=2))
        return
    for problem in index.problems:
        typer.echo(f"damaged: {printable(problem)}", err=True)
    if not index.models:
        typer.echo(f"{store.storage.url}: no models; add one: dfbench registry push FOLDER", err=True)
        return
    print_table([HEADER, *map(_line, index.models)])


def show(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME|NAME@VERSION|NAME@ALIAS",
            autocompletion=completion.models,
            help="Model, or one version of it, see dfbench registry ls.",
            show_default=False,
        ),
    ],
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Show one version of a model, or all of its versions.

    One version is shown with the facts of its manifest; a model that is named without a version, with all versions.

    Examples:
        dfbench registry show lite
        dfbench registry show lite@production --format json
    """
    from deepfake_registry.errors import RegistryError
    from deepfake_registry.names import split_reference
    from deepfake_registry.store.index import describe, make_index
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry)
    name, wanted = split_reference(model)
    if not wanted:
        entries = [entry for entry in make_index(store).models if entry.name == name]
        if not entries:
            raise RegistryError(f"{name}: not in the registry {store.storage.url}")
        if output is Format.json:
            typer.echo(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        else:
            print_table([HEADER, *map(_line, entries)])
        return
    published = store.resolve(model)
    version = published.manifest.version
    aliases = [
        alias for alias in store.aliases.names(name)
        if (move := store.aliases.current(name, alias)) is not None and move.version == version
    ]  # fmt: skip
    entry = describe(store, name, version, aliases)
    manifest = published.manifest.model_dump(mode="json")
    if output is Format.json:
        typer.echo(json.dumps({**entry.model_dump(mode="json"), "manifest": manifest}, indent=2))
        return
    seen = entry.training_groups
    rows = [
        ("model", published.reference),
        ("aliases", ", ".join(aliases)),
        ("architecture", entry.architecture),
        ("weights", entry.weights),
        ("licence", entry.license),
        ("manifest", f"sha256 {entry.manifest_sha256}"),
        *((format, f"{size_text(file.size_bytes)}, sha256 {file.sha256}") for format, file in entry.files.items()),
        ("training groups", f"{size_text(seen.size_bytes)}, sha256 {seen.sha256}" if seen else "not known"),
        ("signatures", str(entry.signatures)),
        *(("report", f"sha256 {sha256}") for sha256 in entry.reports),
    ]
    typer.echo(pairs(rows))
    typer.echo("\n" + json.dumps(manifest["metrics"], indent=2) if manifest["metrics"] else "\nno metrics")


def diff(
    before: Reference,
    after: Reference,
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Show the fields in which two manifests differ.

    Examples:
        dfbench registry diff lite@production lite@candidate
    """
    from deepfake_registry.store.opening import open_registry
    from deepfake_registry.store.upkeep import differences

    store = open_registry(registry)
    old, new = store.resolve(before), store.resolve(after)
    found = differences(old, new)
    if output is Format.json:
        typer.echo(json.dumps([change.model_dump(mode="json") for change in found], indent=2))
    elif found:
        print_table(
            [("field", old.reference, new.reference)]
            + [(change.field, _value(change.before), _value(change.after)) for change in found]
        )
    else:
        typer.echo(f"{old.reference} and {new.reference} are the same")


def _line(entry: Entry) -> tuple[str, ...]:
    return (
        f"{entry.name}@{entry.version}",
        ", ".join(entry.aliases),
        entry.weights,
        ", ".join(sorted(entry.files)),
        size_text(entry.size_bytes),
        str(entry.signatures),
        str(len(entry.reports)),
    )


def _value(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)
