"""``dfbench data stats``: how real and fake files differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.data.shared import Data, MaxImages, StateFile, fact_cache, opened
from deepfake_bench.cli.output.json_file import JsonFile, echo_beside, write_json
from deepfake_bench.cli.output.options import Threads
from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable


def stats(
    data: Data,
    faces: Annotated[bool, typer.Option("--faces", help="Also find faces and measure their size.")] = False,
    max_images: MaxImages = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="PNG file for a plot of the distributions.")
    ] = None,
    state: StateFile = None,
    json_file: JsonFile = None,
    threads: Threads = None,
) -> None:
    """Show how real and fake files differ.

    Formats, sizes, compression and brightness are listed by source and class. Properties other than the face that
    reveal the class are pointed out, because a detector would learn them instead.

    Examples:
        dfbench data stats my-pictures/
        dfbench data stats my-pictures/ --faces --plot differences.png
    """
    from deepfake_core.data.stats import MEASURES, collect

    echo = echo_beside(json_file)
    with fact_cache(state) as cache:
        found = collect(opened(data), faces=faces, max_images=max_images, cache=cache, threads=threads)
    names = list(found.values)
    rows: list[tuple[str, ...]] = [("source", "label", "files", "format", "mode")]
    for cell in found.cells:
        kinds = (" ".join(f"{value}:{count:,}" for value, count in kind.items()) for kind in (cell.formats, cell.modes))
        rows.append((cell.source, cell.label, f"{cell.files:,}", *kinds))
    echo(columns(rows, elsewhere="--json FILE"))
    quantiles: list[tuple[str, ...]] = [("source", "label", "property", "5 %", "50 %", "95 %")]
    for name in names:
        for cell in found.cells:
            numbers = [f"{value:.3g}" for value in cell.quantiles[name]] or ["–"] * 3
            quantiles.append((cell.source, cell.label, name, *numbers))
    echo("\n" + columns(quantiles, elsewhere="--json FILE"))
    if found.unreadable:
        typer.echo(f"warning: {found.unreadable:,} files cannot be read; see dfbench data check", err=True)
    for shortcut in found.shortcuts:
        typer.echo(f"warning: {printable(str(shortcut))}", err=True)
    if not found.shortcuts:
        echo(f"no shortcut: none of {', '.join(MEASURES[name] for name in names)} tells the classes apart")
    write_json(json_file, found.to_dict())
    if plot is not None:
        from deepfake_core.data.plot import plot as draw

        draw(found, plot)
        echo(f"wrote {plot}")
