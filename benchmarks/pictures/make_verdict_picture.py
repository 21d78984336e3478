"""Make the pictures of verdicts in README.md: run ``dfbench predict`` on two pictures, and draw what it prints.

Run from anywhere, with ``lite`` installed::

    python benchmarks/pictures/make_verdict_picture.py

It writes to ``docs/assets``: ``verdict.svg``, a terminal with the command and its output, and the explanations that the
command made, ``photo.png`` and ``edited.png``. The pictures are those of the plumbing check, in the public domain.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from deepfake_registry.files import write_atomic

ROOT = Path(__file__).parents[2]
DATA = ROOT / "benchmarks" / "deepfake_bench" / "data"
PICTURES = {"photo.jpg": DATA / "portrait.jpg", "edited.jpg": DATA / "plumbing" / "fake" / "view07.jpg"}
ASSETS = ROOT / "docs" / "assets"
COMMAND = f"dfbench predict {' '.join(PICTURES)} --explain out/"
COLUMNS = 80
_FORM = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix, .{unique_id}-title {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
.{unique_id}-matrix {{ font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own form, without fonts from another host."""


def output(folder: Path) -> str:
    """Run the command in a folder and return what it prints, with the colours of a terminal."""
    for name, picture in PICTURES.items():
        shutil.copy(picture, folder / name)
    environment = os.environ | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "deepfake_bench", *COMMAND.split()[1:]]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    return done.stdout


def terminal(printed: str) -> str:
    """Return the picture, SVG, of a terminal in which the command printed a text."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="standard", force_terminal=True)
    console.print(Text.assemble(("$ ", "bold"), COMMAND))
    console.print(Text.from_ansi(printed.rstrip()))
    return console.export_svg(title="dfbench", code_format=_FORM, unique_id="verdict")


def main() -> None:
    """Write the pictures."""
    ASSETS.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        write_atomic(ASSETS / "verdict.svg", terminal(output(Path(folder))))
        for name, explanation in zip(PICTURES, sorted((Path(folder) / "out").iterdir()), strict=True):
            write_atomic(ASSETS / Path(name).with_suffix(".png").name, explanation.read_bytes())


if __name__ == "__main__":
    main()
