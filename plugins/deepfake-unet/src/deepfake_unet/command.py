"""Start of the commands ``python -m deepfake_unet.…``."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer

from deepfake_core import DeepfakeError


def run(command: Callable[..., None]) -> None:
    """Run a command; an error that the user can correct is reported in one line."""
    try:
        program(command)()
    except DeepfakeError as error:
        raise SystemExit(f"{command.__name__}: {error}") from error


def program(command: Callable[..., None]) -> typer.Typer:
    """Return the program of one command; what follows ``Examples:`` in its docstring is shown as it stands."""
    text, _, examples = inspect.cleandoc(command.__doc__ or "").partition("\n\nExamples:\n")
    made = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    # A paragraph that begins with \b is not wrapped.
    made.command(help=text, epilog="\b\nExamples:\n" + examples.replace("    ", "  "))(command)
    return made
