"""``dfbench promote``: point an alias at a model that meets its targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.output.options import Format, Key, Output, RegistryUrl
from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_bench.records.report import TargetCheck


def promote(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL@VERSION",
            autocompletion=completion.models,
            help="Published model, see dfbench registry ls.",
            show_default=False,
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="ALIAS", help="Alias to move, such as production.")],
    report: Annotated[
        Path, typer.Option(metavar="REPORT.json", help="Report of dfbench run --json about this very model.")
    ],
    reason: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Text for the history of the alias; by default a summary of the targets and their verdicts.",
        ),
    ] = None,
    override: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Promote the model although something speaks against it; the history keeps the reason.",
        ),
    ] = None,
    output: Output = Format.table,
    registry: RegistryUrl = None,
    key: Key = None,
) -> None:
    """Point an alias at a model that meets its targets.

    The report must have measured this very model, by its sha256. At least one documented target must be met, every
    target that could be measured too, and none may be left out; the model must rank better than chance. Exit status:
    0; 2 when the model is not promoted.

    Examples:
        dfbench promote lite@174167f6 --to production --report report.json
    """
    from deepfake_bench.records.report import parse_report, read_report
    from deepfake_bench.registry.promotion import check_again, obstacles, own_measurements, summary
    from deepfake_core.discovery.plugins import detector_spec
    from deepfake_core.errors import TargetMissed
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry, key=key)
    published = store.trusted(model)
    data = read_report(report)
    rows = own_measurements(parse_report(data, report), published.manifest, report, published.reference)
    targets = detector_spec(published.manifest.architecture).targets
    checks = check_again(targets, rows)
    problems = obstacles(published.manifest, targets, rows)
    if output is Format.table:
        _show(checks)
    if problems and not (override and override.strip()):
        raise TargetMissed(
            f"{published.reference} is not promoted: {'; '.join(problems)}; to promote it all the same: "
            "--override REASON"
        )
    move = store.move(
        published.manifest.name,
        to,
        published.manifest.version,
        reason=override if problems and override else reason or summary(checks),
        how="override" if problems else "promote",
        problems=tuple(problems),
        report_sha256=store.attach_report(published, data),
    )
    if output is Format.json:
        shown = {**move.model_dump(mode="json"), "targets": [check.model_dump(mode="json") for check in checks]}
        typer.echo(json.dumps(shown, indent=2))
        return
    for problem in problems:
        typer.echo(f"overridden: {printable(problem)}")
    typer.echo(f"{move.name}@{move.alias} is {published.reference} now: {printable(move.reason)}")


def _show(checks: list[TargetCheck]) -> None:
    if not checks:
        typer.echo("no target is documented for what was measured")
        return
    head = ("metric", "measured", "target", "verdict", "reason")
    rows = [
        (
            check.metric,
            "–" if check.measured is None else f"{check.measured:.4g}",
            f"{check.comparison} {check.target:g}",
            check.verdict,
            printable(check.reason),
        )
        for check in checks
    ]
    typer.echo(columns([head, *rows]))
