"""``dfbench data manifest``: the sha256 of every file of a dataset."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.data.shared import Data, StateFile, opened
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import Threads
from deepfake_bench.printable import printable


def manifest(
    data: Data,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="CSV file to write: one row for each file.")
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="CSV file with which the dataset is compared.")
    ] = None,
    state: StateFile = None,
    threads: Threads = None,
) -> None:
    """Write or verify the sha256 of every file.

    The same command with --out continues after an interruption; --verify reads every file. Exit status: 0; 2 when the
    dataset differs from its manifest.

    Examples:
        dfbench data manifest my-pictures/ --out files.csv
        dfbench data manifest my-pictures/ --verify files.csv
    """
    from deepfake_core.data.manifest import verify as compare
    from deepfake_core.data.manifest import write_manifest
    from deepfake_core.datasets.labels import labels_read
    from deepfake_core.errors import TrainingDataError
    from deepfake_registry.files import check_writable

    if (out is None) == (verify is None):
        raise TrainingDataError("give either --out FILE or --verify FILE")
    if verify is not None and state is not None:
        raise TrainingDataError("--verify reads every file, so leave out --state")
    if out is not None:
        check_writable(out)
    dataset = opened(data)
    labels: Counter[tuple[str, bool]] = Counter()
    if out is not None:
        count, digest = write_manifest(dataset, out, cache=state, threads=threads, labels=labels)
        typer.echo(f"wrote {out}: {count:,} files\n{printable(labels_read(labels))}\nhash {digest}")
        return
    assert verify is not None, "one of the two was given"
    count, digest, differences = compare(dataset, verify, threads=threads, labels=labels)
    for kind in ("changed", "missing", "added", "relabelled"):
        for name in getattr(differences, kind):
            typer.echo(f"{kind}  {printable(name)}")
    said = f"{'differs from' if differences else 'is as in'} {verify}: {count:,} files"
    typer.echo(f"{said}\n{printable(labels_read(labels))}\nhash {digest}")
    if differences:
        raise typer.Exit(ExitStatus.REJECTED)
