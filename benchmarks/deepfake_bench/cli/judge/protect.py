"""``dfbench protect``: protect the faces in images against manipulation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import model_of
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import Backend, BackendOption, Device, Threads


def protect(
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Images, folders or glob patterns.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the protected images, which keep their names.")
    ],
    detector: Annotated[
        str,
        typer.Option(
            metavar="PROTECTOR",
            autocompletion=completion.protectors,
            help="Name of a protector, see dfbench list; or a model file, or the folder of a packaged model or a run.",
        ),
    ] = "unet",
    epsilon: Annotated[
        float,
        typer.Option(
            metavar="CHANGE", help="Largest change of each colour value of a pixel, where the range is [0, 1]."
        ),
    ] = 0.03,
    reason: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Why the images are protected even where a detector calls a face fake."),
    ] = "",
    report: Annotated[bool, typer.Option("--report", help="Print PSNR and SSIM against each original.")] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Most pixels of an image; by default 64 million, or what DEEPFAKE_MAX_PIXELS says. Larger ones are "
            "refused.",
            show_default=False,
        ),
    ] = None,
    backend: BackendOption = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Protect the faces in images against manipulation.

    A small perturbation of the pixels disturbs programs that would manipulate the faces. Because it changes what
    detectors see as well, a face that an installed detector calls fake is refused, and protected faces carry a mark,
    by which dfbench predict knows that it cannot judge them. Originals are never overwritten. Exit status: 0 when at
    least one file was protected; 3 when none was.

    Examples:
        dfbench protect photo.jpg --out protected/
        dfbench protect holiday/ --out protected/ --epsilon 0.05 --report
    """
    from deepfake_bench.printable import printable
    from deepfake_core.errors import InputError
    from deepfake_core.handle.loaded import single
    from deepfake_core.inputs.sources import expand
    from deepfake_core.loading.load import load
    from deepfake_core.progress import track
    from deepfake_core.protect import protectors
    from deepfake_core.protect.check import judges

    protectors.levels(epsilon)
    loaded = single(load(model_of(detector), backend=backend.value, device=device, threads=threads))
    protectors.load_protector(loaded)
    sources = [source.data for source in expand(paths)]
    if not sources:
        typer.echo(f"dfbench: no images in {', '.join(map(printable, paths))}", err=True)
    taken: set[Path] = set()
    for source in track(sources, "protecting", total=len(sources)):
        assert isinstance(source, str)
        target = _free(out, Path(source), protectors.output_suffix(source), taken)
        try:
            image = loaded.protect(source, epsilon=epsilon, save=target, reason=reason, max_pixels=max_pixels)
        except InputError as error:
            typer.echo(f"dfbench: {printable(str(error))}", err=True)
            continue
        taken.add(target)
        facts = image.info["protection"]
        measured = f"  PSNR {facts['psnr_db']:.2f} dB  SSIM {facts['ssim']:.4f}" if report else ""
        faces = {0: "no face, whole image", 1: "1 face"}.get(facts["faces"], f"{facts['faces']} faces")
        typer.echo(f"{printable(source)} → {printable(str(target))}  {faces}{measured}")
        for line in _cautions(facts):
            typer.echo(f"dfbench: {printable(source)}: {printable(line)}", err=True)
    if taken and not judges(loaded.manifest.architecture):
        typer.echo("No detector checked these images: none with trained weights is installed.", err=True)
    if loaded.manifest.weights == "untrained":
        typer.echo("The weights are untrained: these images are not protected.", err=True)
    if not taken:
        raise typer.Exit(ExitStatus.NOTHING_PROCESSED)


def _cautions(facts: dict[str, Any]) -> list[str]:
    """Return what is to be known about a protected image, one sentence each."""
    found = [
        f"{judged['detector']} calls it fake (P(fake) {judged['p_fake']:.1%}); protected because: {facts['reason']}"
        for judged in facts["checked"]
        if judged["verdict"] == "fake"
    ]
    if lacking := facts["faces"] - facts["marked"]:
        found.append(f"{lacking} of {facts['faces']} faces are too small, or epsilon is, to carry a readable mark")
    return found


def _free(folder: Path, source: Path, suffix: str, taken: set[Path]) -> Path:
    """Return a path in the folder that no other file of this call has, and that is not the source itself."""
    number = 1
    while True:
        target = folder / f"{source.stem}{f'-{number}' if number > 1 else ''}{suffix}"
        is_source = target.exists() and source.exists() and target.samefile(source)
        if target not in taken and not is_source:
            return target
        number += 1
