"""Collect in one folder what ``gpu.sh`` needs on a machine that has a GPU, a Python with torch, and no network.

``sh benchmarks/gpu.sh --pack FOLDER`` runs it, in a checkout whose environment can train every detector.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]
NEEDS: dict[str, tuple[str, ...]] = {
    "efficientnet-pytorch": (),
    "platformdirs": (),
    "pydantic": ("annotated-types", "pydantic-core", "typing-extensions", "typing-inspection"),
}
"""Package that a machine for training may lack → others that it cannot do without, in the same versions as here."""
PLATFORMS = (*(f"manylinux_2_{number}_x86_64" for number in (28, 27, 24, 17, 12, 5)), "manylinux2014_x86_64")
"""Systems whose wheels the other machine takes; pip compares them by name."""


def pack(folder: Path, python_version: str, also: Iterable[str] = (), data: Path | None = None) -> None:
    """Collect the script, the wheels of this project, and those of packages that the other machine may lack.

    Args:
        folder: Folder to fill; what it holds of an earlier packing is replaced.
        python_version: Version of the Python there, such as ``"3.12"``.
        also: Further packages that it lacks.
        data: Store or pack of crops to take along; the sample faces need none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("own", "needs", "site"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copy2(ROOT / "benchmarks" / "gpu.sh", folder / "gpu.sh")
    sources = [ROOT, *sorted((ROOT / "plugins").glob("deepfake-*"))]
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder / "own"), *map(str, sources))
    for need, others in {**NEEDS, **dict.fromkeys(also, ())}.items():
        _download(folder / "needs" / need, (need, *others), python_version)
    if data is not None:
        if data.is_dir():
            shutil.copytree(data, folder / data.name, dirs_exist_ok=True)
        else:
            shutil.copy2(data, folder / data.name)


def _download(folder: Path, names: Sequence[str], python_version: str) -> None:
    """Download wheels of packages in the versions that are installed here; build one where none is published."""
    for name in names:
        pinned = f"{name}=={metadata.version(name)}"
        system = [word for platform in PLATFORMS for word in ("--platform", platform)]
        there = ("--only-binary=:all:", "--implementation", "cp", "--python-version", python_version, *system)
        if _pip("download", "--no-deps", "--dest", str(folder), *there, pinned, check=False):
            _pip("wheel", "--no-deps", "--wheel-dir", str(folder), pinned)


def _pip(*words: str, check: bool = True) -> int:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    return subprocess.run(command, check=check, stderr=None if check else subprocess.DEVNULL).returncode  # noqa: S603


def main() -> None:
    """Pack, and say what to carry and how large it is."""
    parser = argparse.ArgumentParser(prog="gpu.sh --pack", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to fill")
    parser.add_argument("--python-version", default="3.12", help="version of the Python on the other machine (3.12)")
    parser.add_argument("--also", action="append", default=[], metavar="PACKAGE", help="package that is missing there")
    parser.add_argument("--data", type=Path, metavar="PATH", help="store or pack of crops to take along")
    options = parser.parse_args()
    if options.data is not None and not options.data.exists():
        parser.error(f"--data {options.data}: no such file or folder")
    try:
        pack(options.folder, options.python_version, options.also, options.data)
    except metadata.PackageNotFoundError as error:
        raise SystemExit(f"gpu.sh --pack: {error.name} is not installed here; pip install {error.name}") from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"gpu.sh --pack: pip failed: {' '.join(error.cmd[4:7])} …") from error
    files = [path for path in options.folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    data = f" --data crops:{options.data.name}" if options.data else ""
    typer.echo(f"{options.folder}: {len(files)} files, {size:.1f} MB. Copy it to the machine with the GPU, and there:")
    typer.echo(f"cd {options.folder.name} && sh gpu.sh --json gpu.json{data}")


if __name__ == "__main__":
    main()
