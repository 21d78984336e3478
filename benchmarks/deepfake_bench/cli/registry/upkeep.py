"""``dfbench registry verify`` and ``gc``: damaged files, and files that no model needs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import Format, Output, RegistryUrl
from deepfake_bench.cli.output.text import size_text
from deepfake_bench.printable import printable


def verify(output: Output = Format.table, registry: RegistryUrl = None) -> None:
    """Compare every file of the registry with its hash.

    Exit status: 0; 2 when something is damaged.

    Examples:
        dfbench registry verify
    """
    from deepfake_registry.store.opening import open_registry
    from deepfake_registry.store.upkeep import verify as verify_all

    found = verify_all(open_registry(registry))
    if output is Format.json:
        typer.echo(json.dumps(found._asdict(), indent=2))
    else:
        for problem in found.problems:
            typer.echo(f"damaged: {printable(problem)}")
        result = f"{len(found.problems)} problems" if found.problems else "all as they were pushed"
        typer.echo(f"{found.versions} versions, {found.moves} moves of aliases, {found.blobs} files: {result}")
    if found.problems:
        raise typer.Exit(ExitStatus.REJECTED)


def gc(
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove the files; without this option they are only listed.")
    ] = False,
    grace_days: Annotated[
        float,
        typer.Option(
            metavar="DAYS", min=0, help="Smallest age of a removed file in days: more than any push or pull may take."
        ),
    ] = 7,
    output: Output = Format.table,
    registry: RegistryUrl = None,
) -> None:
    """Remove files that no version refers to.

    Pushes that were interrupted leave such files.

    Examples:
        dfbench registry gc
        dfbench registry gc --yes
    """
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
    typer.echo(f"{len(found.files)} files, {size_text(found.size_bytes)}{f': {done}' if found.files else ''}")
