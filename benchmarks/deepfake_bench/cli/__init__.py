"""``dfbench``: the command line, which judges files, and measures, trains, exports and publishes detectors.

Each command imports what it needs when it runs, so that ``--help`` and ``list`` stay fast.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from deepfake_bench.cli import listing
from deepfake_bench.cli.commands import App, Group
from deepfake_bench.cli.data import app as data
from deepfake_bench.cli.judge import explain, predict, protect
from deepfake_bench.cli.measure import backends, card, compare, leaderboard, report, run, scores
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.streams import colours_wanted, whole_output
from deepfake_bench.cli.publish import export, parity, promote
from deepfake_bench.cli.registry import app as registry
from deepfake_bench.cli.runs import app as runs
from deepfake_bench.cli.train import ensemble, leave_one_out, recipes, train, tune
from deepfake_core.errors import DeepfakeError


class Commands(Group):
    """Group of commands that reports an error of the project or of a file, or Ctrl-C, in one line and by its status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DeepfakeError as error:
            if ctx.params.get("_debug"):
                raise
            typer.echo(f"dfbench: {error}", err=True)
            raise typer.Exit(ExitStatus.REJECTED) from error
        except OSError as error:
            if ctx.params.get("_debug") or error.filename is None:
                raise
            typer.echo(f"dfbench: {error.filename}: {error.strerror}; dfbench --debug shows where", err=True)
            raise typer.Exit(ExitStatus.REJECTED) from error
        except KeyboardInterrupt as error:
            typer.echo("dfbench: interrupted", err=True)
            raise typer.Exit(ExitStatus.INTERRUPTED) from error


app = App("dfbench", cls=Commands)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dfbench {version('deepfake-core')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Detect fake faces in images and videos, and measure the detectors.

    Examples:
        dfbench predict photo.jpg
        dfbench run --device cpu
        dfbench help predict
    """
    context.color = colours_wanted()
    # File names may hold bytes that are not text in this locale: they are shown escaped, where printing would fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


app.command("list")(listing.list_detectors)
app.command("predict")(predict.predict)
app.command("explain")(explain.explain)
app.command("protect")(protect.protect)
app.command("run")(run.run)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("train")(train.train)
app.command("recipes")(recipes.recipes)
app.command("tune")(tune.tune)
app.command("leave-one-out")(leave_one_out.leave_one_out)
app.command("export")(export.export)
app.command("backends")(backends.backends)
app.command("parity")(parity.parity)
app.command("ensemble")(ensemble.ensemble)
app.command("card")(card.card)
app.command("promote")(promote.promote)
app.add_typer(data.app)
app.add_typer(runs.app)
app.add_typer(scores.app)
app.add_typer(registry.app)


def main() -> None:
    """Run the command line: the entry point of the console script."""
    with whole_output():
        app()
