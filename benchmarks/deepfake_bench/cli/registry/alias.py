"""``dfbench registry alias``: names, such as production, that point at one version of a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.output.options import Format, Output, RegistryUrl
from deepfake_bench.cli.registry.shared import print_table

if TYPE_CHECKING:
    from deepfake_registry.store.aliases import AliasMove


def alias(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@VERSION|@ALIAS]",
            autocompletion=completion.models,
            help="Model, and the version that the alias is to point at.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="ALIAS", help="Alias to move, such as production.", show_default=False)
    ],
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Reason for the move, which is kept in the history of the alias.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Show all moves of the alias, and move nothing.")] = False,
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Point an alias at a version of a model.

    Its measurements are not checked; dfbench promote checks them first. To go back, point the alias at the version
    before. With --history, a model without a version is enough.

    Examples:
        dfbench registry alias lite@174167f6 candidate --reason "to be measured"
        dfbench registry alias lite production --history
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


def _show_moves(moves: list[AliasMove], output: Format) -> None:
    if output is Format.json:
        typer.echo(json.dumps([move.model_dump(mode="json") for move in moves], indent=2))
        return
    rows = [(str(move.number), move.created, move.version, move.how, _reason(move)) for move in moves]
    print_table([("move", "time", "version", "command", "reason"), *rows])


def _reason(move: AliasMove) -> str:
    return f"{move.reason} (in spite of: {'; '.join(move.problems)})" if move.problems else move.reason
