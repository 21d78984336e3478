"""``dfbench data shortcuts``: how well the classes are told apart by what has nothing to do with forgery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.data.shared import Data, opened
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.json_file import JsonFile, echo_beside, write_json
from deepfake_bench.cli.output.options import Threads
from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepfake_core.data.audit.result import Finding, Shortcuts

MOST_SHOWN = 20
"""Findings above the bound that the table shows."""


def shortcuts(
    data: Data,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="DETECTOR",
            autocompletion=completion.detectors,
            help="Detector that would be trained, whose crops are audited; by default crops of --side and --margin.",
            show_default=False,
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=16, help="Side of the crops in pixels; by default 224.", show_default=False),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="Crop margin: side of the crop, divided by that of the face box; by default 1.3.",
            show_default=False,
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=OTHER,OTHER",
            help="Sources that lend another one the class that it lacks; * stands for all others; may be repeated.",
        ),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(
            metavar="AUC",
            min=0.5,
            max=1,
            help="Largest AUC of a single number that is accepted; all together may reach 0.05 more.",
        ),
    ] = 0.6,
    max_images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Largest number of files or stored faces that are measured, evenly spread; by default 20,000.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the files that a store was made of; by default where they were then.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="PNG file for a plot of the three strongest findings.")
    ] = None,
    json_file: JsonFile = None,
    threads: Threads = None,
) -> None:
    """Show what tells the classes apart besides forgery.

    Faces are cut as training would cut them. Size, sharpness, light, border, coding and framing are tried alone and
    together, within each source, beside random features of the pixels; each finding says what to do about it. Exit
    status: 0; 1 when a finding is above the bound and not by chance.

    Examples:
        dfbench data shortcuts my-pictures/ --bound 1
        dfbench data shortcuts crops:crops/ --beside diffusion=portraits
    """
    from deepfake_core.data import shortcuts as audit

    echo = echo_beside(json_file)
    found = audit(
        opened(data),
        detector=detector,
        side=side,
        margin=margin,
        beside=_beside(beside or []),
        max_images=max_images,
        files=files,
        threads=threads,
    )
    above = found.exceeds(bound)
    _show(found, above, bound, echo)
    marked = [{"source": one.source, "feature": one.feature, "remedy": one.remedy} for one in above]
    write_json(json_file, {**found.to_dict(), "bound": bound, "above": marked})
    if picture is not None:
        found.plot(picture)
        echo(f"wrote {picture}")
    if above:
        raise typer.Exit(ExitStatus.FAILED)


def _beside(texts: list[str]) -> dict[str, list[str]]:
    """Read ``SOURCE=OTHER,OTHER``; a source that is given twice has the others of both.

    Raises:
        BadParameter: A text has another form.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        source, equals, others = text.rpartition("=")
        names = [name for name in others.split(",") if name]
        if not equals or not source or not names:
            raise typer.BadParameter(f"{text!r} is not SOURCE=OTHER,OTHER", param_hint="--beside")
        found.setdefault(source, []).extend(names)
    return found


def _show(found: Shortcuts, above: tuple[Finding, ...], bound: float, echo: Callable[[str], None]) -> None:
    from deepfake_core.data.audit.result import ALLOWANCE

    echo(columns(found.table(), elsewhere="--json FILE"))
    if found.unreadable:
        typer.echo(f"warning: {found.unreadable:,} files cannot be read; see dfbench data check", err=True)
    if found.faceless:
        typer.echo(f"warning: {found.faceless:,} files show no face", err=True)
    for reason in dict.fromkeys(found.left_out.values()):
        names = ", ".join(name for name, why in found.left_out.items() if why == reason)
        typer.echo(printable(f"not measured: {names}: {reason}"), err=True)
    if not above:
        echo(f"no shortcut above AUC {bound:.2f} (all together {min(1.0, bound + ALLOWANCE):.2f})")
        return
    rows: list[tuple[str, ...]] = [("source", "number", "AUC", "real", "fake")]
    for one in above[:MOST_SHOWN]:
        medians = (f"{value:.3g}" if value == value else "–" for value in (one.real, one.fake))
        rows.append((one.source, one.called, str(one.auc), *medians))
    echo(f"\n{len(above)} above AUC {bound:.2f} (all together {min(1.0, bound + ALLOWANCE):.2f}), with the medians:")
    echo(columns(rows, elsewhere="--json FILE"))
    if len(above) > MOST_SHOWN:
        echo(f"and {len(above) - MOST_SHOWN} more, which --json FILE writes")
    echo("\nremedies:")
    for remedy in dict.fromkeys(one.remedy for one in above):
        called = ", ".join(dict.fromkeys(one.called for one in above if one.remedy == remedy))
        echo(f"- {called}: {remedy}")
