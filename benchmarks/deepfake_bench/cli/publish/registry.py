"""``dfbench registry``: publish models, find them again, and look after where they are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.listing import Format
from deepfake_bench.cli.output.options import Key, RegistryUrl
from deepfake_bench.cli.output.text import columns
from deepfake_bench.cli.publish import build
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_registry.store.aliases import AliasMove
    from deepfake_registry.store.index import Entry

EXIT_DAMAGED = 2

app = typer.Typer(
    name="registry",
    help="Publish models, find them again, and look after where they are kept.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command("build")(build.build)

Reference = Annotated[str, typer.Argument(metavar="NAME@VERSION|NAME@ALIAS", show_default=False)]
Output = Annotated[Format, typer.Option("--format", help="How it is printed.")]


@app.callback()
def options() -> None:
    """Publish models, find them again, and look after where they are kept."""


@app.command("ls")
def list_models(output: Output = Format.table, registry: RegistryUrl = None) -> None:
    """List every version of every model, with the aliases that point at it."""
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
    head = ("model", "aliases", "weights", "files", "size", "signatures", "reports")
    _table([head, *map(_line, index.models)])


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="NAME|NAME@VERSION|NAME@ALIAS", show_default=False)],
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Show one version with its manifest; or, of a model without a version, all that there is."""
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
            _table([("model", "aliases", "weights", "files", "size", "signatures", "reports"), *map(_line, entries)])
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
    rows = [
        ("model", published.reference),
        ("aliases", ", ".join(aliases)),
        ("architecture", entry.architecture),
        ("weights", entry.weights),
        ("licence", entry.license),
        ("manifest", f"sha256 {entry.manifest_sha256}"),
        *((format, f"{_bytes(file.size_bytes)}, sha256 {file.sha256}") for format, file in entry.files.items()),
        ("signatures", str(entry.signatures)),
        *(("report", f"sha256 {sha256}") for sha256 in entry.reports),
    ]
    _table(rows)
    typer.echo("\n" + json.dumps(manifest["metrics"], indent=2) if manifest["metrics"] else "\nno metrics")


@app.command()
def push(
    model: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A packaged model, or the folder of a run.", show_default=False)
    ],
    report: Annotated[
        list[Path] | None, typer.Option(help="What dfbench run --json wrote about this very model; may be repeated.")
    ] = None,
    registry: RegistryUrl = None,
) -> None:
    """Publish a packaged model under the name and version of its manifest.

    A version never changes: the very same model again is no error, another one is.
    """
    from deepfake_bench.cli.models import model_of
    from deepfake_bench.records.report import parse_report, read_report
    from deepfake_bench.registry.promotion import own_measurements
    from deepfake_core.discovery.artifacts import read_package
    from deepfake_registry.store.opening import open_registry

    folder = Path(model_of(str(model)))
    manifest = read_package(folder).manifest
    reports = {path: read_report(path) for path in report or ()}
    for path, data in reports.items():
        own_measurements(parse_report(data, path), manifest, path, f"{folder}/")
    store = open_registry(registry)
    published, new = store.push(folder, list(reports.values()))
    typer.echo(f"{'pushed' if new else 'is there already:'} {published.reference}, sha256 {published.sha256}")


@app.command()
def pull(
    model: Reference,
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")],
    registry: RegistryUrl = None,
    key: Key = None,
) -> None:
    """Write a published model as a packaged folder, every file verified; it appears whole or not at all."""
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry, key=key)
    published = store.trusted(model)
    # With a separator it is taken for a path, whatever it is called.
    typer.echo(f"wrote {published.reference}; use it as --detector {store.pull(published, out)}/")


@app.command()
def alias(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION|@ALIAS]", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as production.", show_default=False)],
    reason: Annotated[str | None, typer.Option(help="Why; kept in the alias' history.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Show where it pointed, and move nothing.")] = False,
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Point an alias at a version, whatever its numbers; dfbench promote asks for them first.

    To go back, point it at the version before. With --history, NAME ALIAS shows all its moves.
    """
    from deepfake_registry.errors import RegistryError
    from deepfake_registry.names import split_reference
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry)
    if history:
        moves = store.aliases.history(split_reference(model)[0], name)
        _show_moves(moves, output)
        return
    if not reason or not reason.strip():
        raise RegistryError("say why, for the alias' history: --reason TEXT")
    published = store.resolve(model)
    move = store.move(published.manifest.name, name, published.manifest.version, reason=reason)
    if output is Format.json:
        typer.echo(json.dumps(move.model_dump(mode="json"), indent=2))
    else:
        typer.echo(f"{move.name}@{move.alias} is {published.reference} now")


@app.command()
def verify(output: Output = Format.table, registry: RegistryUrl = None) -> None:
    """Read every file again and compare it with its hash. Exit status: 0, or 2 when something is damaged."""
    from deepfake_registry.store.opening import open_registry
    from deepfake_registry.store.upkeep import verify

    store = open_registry(registry)
    found = verify(store)
    if output is Format.json:
        typer.echo(json.dumps(found._asdict(), indent=2))
    else:
        for problem in found.problems:
            typer.echo(f"damaged: {printable(problem)}")
        result = f"{len(found.problems)} problems" if found.problems else "all as they were pushed"
        typer.echo(f"{found.versions} versions, {found.moves} moves of aliases, {found.blobs} files: {result}")
    if found.problems:
        raise typer.Exit(EXIT_DAMAGED)


@app.command()
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be removed.")] = False,
    grace_days: Annotated[
        float, typer.Option(min=0, help="How old a file must be: longer than any push or pull may take.")
    ] = 7,
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Remove files that no version refers to, as pushes that were killed leave them."""
    from datetime import timedelta

    from deepfake_registry.store.opening import open_registry
    from deepfake_registry.store.upkeep import collect

    found = collect(open_registry(registry), grace=timedelta(days=grace_days), delete=yes)
    if output is Format.json:
        typer.echo(json.dumps({**found._asdict(), "removed": yes}, indent=2))
        return
    for name in found.files:
        typer.echo(printable(name))
    done = "removed" if yes else "would be removed; add --yes"
    typer.echo(f"{len(found.files)} files, {_bytes(found.size_bytes)}{f': {done}' if found.files else ''}")


@app.command()
def diff(
    before: Reference,
    after: Reference,
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Show the fields in which the manifests of two versions differ."""
    from deepfake_registry.store.opening import open_registry
    from deepfake_registry.store.upkeep import differences

    store = open_registry(registry)
    old, new = store.resolve(before), store.resolve(after)
    found = differences(old, new)
    if output is Format.json:
        typer.echo(json.dumps([change.model_dump(mode="json") for change in found], indent=2))
    elif found:
        _table(
            [("field", old.reference, new.reference)]
            + [(change.field, _value(change.before), _value(change.after)) for change in found]
        )
    else:
        typer.echo(f"{old.reference} and {new.reference} are the same")


@app.command()
def sign(
    model: Reference,
    private_key: Annotated[
        Path, typer.Option("--private-key", metavar="FILE", help="PEM file with an elliptic-curve key.")
    ],
    registry: RegistryUrl = None,
) -> None:
    """Sign a published model with a private key; the signature is kept beside its manifest."""
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry)
    published = store.resolve(model)
    store.sign(published, private_key)
    typer.echo(f"signed {published.reference}")


@app.command("check-signature")
def check_signature(model: Reference, registry: RegistryUrl = None, key: Key = None) -> None:
    """See that a published model is signed by a key. Exit status: 0, or 2 when it is not."""
    from deepfake_registry.errors import RegistryError
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry, key=key)
    if store.key is None:
        raise RegistryError("name the public key: --key FILE, or DEEPFAKE_REGISTRY_KEY")
    published = store.trusted(model)
    typer.echo(f"{published.reference} is signed by {store.key}")


@app.command("serve-index")
def serve_index(
    out: Annotated[
        Path | None, typer.Option(help="Folder for index.json and index.html; written once, and nothing is served.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve at; 0 takes a free one.")] = 8765,
    registry: RegistryUrl = None,
) -> None:
    """Write what the registry holds as a page and as JSON, or serve both until Ctrl-C."""
    import tempfile

    from deepfake_bench.registry.index_page import serve, write_index
    from deepfake_registry.errors import RegistryError
    from deepfake_registry.store.index import make_index
    from deepfake_registry.store.opening import open_registry

    index = make_index(open_registry(registry))
    if out is not None:
        for file in write_index(index, out):
            typer.echo(f"wrote {file}")
        return
    with tempfile.TemporaryDirectory(prefix="deepfake-") as folder:
        write_index(index, Path(folder))
        try:
            server = serve(Path(folder), host, port)
        except OSError as error:
            raise RegistryError(f"{host}:{port}: cannot be served at: {error.strerror}; name another --port") from error
        with server:
            typer.echo(f"serving http://{host}:{server.server_port}/ until Ctrl-C")
            server.serve_forever()


def _line(entry: Entry) -> tuple[str, ...]:
    return (
        f"{entry.name}@{entry.version}",
        ", ".join(entry.aliases),
        entry.weights,
        ", ".join(sorted(entry.files)),
        _bytes(entry.size_bytes),
        str(entry.signatures),
        str(len(entry.reports)),
    )


def _show_moves(moves: list[AliasMove], output: Format) -> None:
    if output is Format.json:
        typer.echo(json.dumps([move.model_dump(mode="json") for move in moves], indent=2))
        return
    rows = [(str(move.number), move.created, move.version, move.how, _why(move)) for move in moves]
    _table([("move", "when", "version", "how", "why"), *rows])


def _why(move: AliasMove) -> str:
    return f"{move.reason} (in spite of: {'; '.join(move.problems)})" if move.problems else move.reason


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    typer.echo(columns([tuple(map(printable, row)) for row in rows]))


def _value(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 50_000 else f"{size / 1e3:.1f} kB"
