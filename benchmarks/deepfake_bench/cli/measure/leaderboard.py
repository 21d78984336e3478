"""``dfbench leaderboard``: rank detectors over many reports."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.measure.report import read_reports
from deepfake_bench.cli.output.options import Reports
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_bench.report.leaderboard import Board


class BoardFormat(enum.StrEnum):
    """Form in which a leaderboard is printed."""

    table = "table"
    markdown = "markdown"
    html = "html"
    json = "json"


def leaderboard(
    reports: Reports,
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="Metric of the reports by which detectors are ranked, such as auc, eer or latency_ms_p50.",
        ),
    ] = "auc",
    output: Annotated[
        BoardFormat, typer.Option("--format", help="Form in which the leaderboard is printed.")
    ] = BoardFormat.table,
) -> None:
    """Rank detectors over many reports.

    The best row of each detector and backend is shown. Accuracy is ranked where the data are the same to the byte,
    speed where machine, device and threads are the same. Untrained weights are listed without a rank.

    Examples:
        dfbench leaderboard before.json after.json
        dfbench leaderboard reports/*.json --metric latency_ms_p50 --format markdown
    """
    from deepfake_bench.report.leaderboard import boards, markdown

    found = boards(read_reports(reports), metric)
    if output is BoardFormat.json:
        typer.echo(json.dumps([_plain(item) for item in found], indent=2))
    elif output is BoardFormat.markdown:
        typer.echo(markdown(found))
    elif output is BoardFormat.html:
        from deepfake_bench.report.html.page import leaderboard_html

        typer.echo(leaderboard_html(found), nl=False)
    else:
        _show(found)


def _plain(board: Board) -> dict[str, Any]:
    return {
        "title": board.title,
        "metric": board.metric,
        "places": [
            {
                "rank": place.rank,
                "detector": place.row.detector,
                "version": place.row.version,
                "weights": place.row.weights,
                "backend": place.row.backend,
                "device": place.row.device,
                "threads": place.row.threads,
                **place.figure.model_dump(),
                "against_first": place.against_first,
                "others_share": place.row.others_share,
                "created": place.created,
            }
            for place in board.places
        ],
    }


def _show(found: list[Board]) -> None:
    from deepfake_bench.cli.output.text import ELSEWHERE, columns, terminal_width, wrapped
    from deepfake_bench.report.leaderboard import cells, header

    for board in found:
        title = wrapped(printable(board.title), terminal_width())
        typer.echo("\n".join(["", *title, columns([header(board), *cells(board)], elsewhere=ELSEWHERE)]))
