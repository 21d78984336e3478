"""Walk a page of the documentation: run its commands as a reader types them, and compare what it says they print.

A block ``sh`` holds commands. A block ``text`` that begins with ``$`` holds commands and their output.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "benchmarks" / "deepfake_bench" / "data"
PAGES = (ROOT / "README.md", ROOT / "docs" / "quickstart.md")
MACHINE = re.compile(r"\d[\d.,]* ?(?:ms|s|MB|GB)\b")
"""What differs between machines in outputs: times and sizes in memory."""
SHORTER = {
    r"^dfbench run (?!.*--scenario)": "dfbench run --quick ",
    r"^dfbench train (?=.*--data)": r"\g<0>--smoke-run ",
}
"""Changes to commands that would take minutes."""
CLIP = """
import av
from PIL import Image
picture = Image.open("photo.jpg").resize((256, 256))
with av.open("clip.mp4", "w") as file:
    stream = file.add_stream("mpeg4", rate=5, width=256, height=256, pix_fmt="yuv420p")
    for frame in (*[av.VideoFrame.from_image(picture)] * 5, None):
        file.mux(stream.encode(frame))
"""


@dataclass(frozen=True)
class Step:
    """A command of a page, and the output that the page shows, if it shows one."""

    page: str
    command: str
    output: str | None


def steps(page: Path) -> Iterator[Step]:
    """Yield the commands of a page, in order."""
    for language, text in re.findall(r"^```(sh|text)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if language == "text":
            for part in re.findall(r"^\$ (.*?)(?=^\$ |\Z)", text, re.MULTILINE | re.DOTALL):
                command, _, output = part.partition("\n")
                yield Step(page.name, command, output.strip())
        else:
            for line in text.replace("\\\n", " ").splitlines():
                yield Step(page.name, re.sub(r"\s+#\s.*$", "", line).strip(), None)


def chosen(skipped: Mapping[str, str], pages: Iterable[Path] = PAGES) -> list[Step]:
    """Return the steps of the pages, each command once, without those that match a pattern of ``skipped``."""
    found = {step.command: step for page in pages for step in steps(page)}
    return [step for step in found.values() if not any(re.search(pattern, step.command) for pattern in skipped)]


def lay_out(folder: Path) -> None:
    """Put the files into a folder that the pages name as the reader's own, but for the video."""
    for name in ("photo.jpg", "holiday/1.jpg", "scans/1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(DATA / "portrait.jpg", folder / name)
    for name in ("my-pictures/phone", "my-pictures/newsroom", "other-pictures"):
        shutil.copytree(DATA / "plumbing", folder / name)


def type_in(command: str, folder: Path, path: Path | None = None) -> str:
    """Run a command in a shell, as it stands but for :data:`SHORTER`, and return what it prints.

    Args:
        command: The command.
        folder: Folder that it runs in.
        path: Folder of programs that come first.
    """
    for pattern, instead in SHORTER.items():
        command = re.sub(pattern, instead, command)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment.pop("COLUMNS", None)
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def walk(found: Iterable[Step], folder: Path, path: Path | None = None) -> None:
    """Run steps one after the other, and compare each output that a page shows."""
    for step in found:
        printed = type_in(step.command, folder, path)
        if step.output is not None:
            lines = [MACHINE.sub("…", line).rstrip() for line in printed.strip().splitlines()]
            expected = [MACHINE.sub("…", line).rstrip() for line in step.output.splitlines()]
            assert lines == expected, f"{step.page}: $ {step.command}"
