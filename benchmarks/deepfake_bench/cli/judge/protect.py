"""``dfbench protect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.output.options import Backend, Device, Threads

EXIT_NOTHING_PROTECTED = 3


def protect(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders or glob patterns.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder that takes the protected pictures, under their own names.")],
    detector: Annotated[str, typer.Option(help="A protector's name, a model file or a packaged folder.")] = "unet",
    epsilon: Annotated[float, typer.Option(help="Largest change of a pixel's channel, of its range [0, 1].")] = 0.03,
    report: Annotated[bool, typer.Option("--report", help="Print PSNR and SSIM against each original.")] = False,
    backend: Annotated[Backend, typer.Option(help="What runs the network.")] = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Protect the faces in pictures: a small perturbation that disturbs what would manipulate them.

    Originals are never overwritten. Exit status: 0 when at least one file was protected, 3 when none was, 2 for a
    usage error.
    """
    from deepfake_bench.printable import printable
    from deepfake_core.errors import InputError
    from deepfake_core.inputs.sources import expand
    from deepfake_core.loading.load import load
    from deepfake_core.progress import track
    from deepfake_core.protect import protectors

    protectors.levels(epsilon)
    loaded = load(detector, backend=backend.value, device=device, threads=threads)
    protectors.load_protector(loaded)
    sources = [source.data for source in expand(paths)]
    if not sources:
        typer.echo(f"dfbench: no pictures in {', '.join(map(printable, paths))}", err=True)
    taken: set[Path] = set()
    for source in track(sources, "protecting", total=len(sources)):
        assert isinstance(source, str)
        target = _free(out, Path(source), protectors.output_suffix(source), taken)
        try:
            image = loaded.protect(source, epsilon=epsilon, save=target)
        except InputError as error:
            typer.echo(f"dfbench: {printable(str(error))}", err=True)
            continue
        taken.add(target)
        facts = image.info["protection"]
        measured = f"  PSNR {facts['psnr_db']:.2f} dB  SSIM {facts['ssim']:.4f}" if report else ""
        faces = {0: "no face, whole picture", 1: "1 face"}.get(facts["faces"], f"{facts['faces']} faces")
        typer.echo(f"{printable(source)} → {printable(str(target))}  {faces}{measured}")
    if loaded.manifest.weights == "untrained":
        typer.echo("The weights are untrained: these pictures are not protected.", err=True)
    if not taken:
        raise typer.Exit(EXIT_NOTHING_PROTECTED)


def _free(folder: Path, source: Path, suffix: str, taken: set[Path]) -> Path:
    """A name in the folder that no other file of this call has, and that is not the source itself."""
    number = 1
    while True:
        target = folder / f"{source.stem}{f'-{number}' if number > 1 else ''}{suffix}"
        is_source = target.exists() and source.exists() and target.samefile(source)
        if target not in taken and not is_source:
            return target
        number += 1
