"""Start of the commands ``python -m deepfake_unet.…``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from deepfake_core import DeepfakeError


def run(command: Callable[..., None]) -> None:
    """Run a command; an error that the user can correct is reported in one line."""
    try:
        typer.run(command)
    except DeepfakeError as error:
        raise SystemExit(f"{command.__name__}: {error}") from error
