"""``dfbench ensemble``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli.output.options import Backend, Device, Threads
from deepfake_bench.cli.train.develop import model_of

if TYPE_CHECKING:
    from deepfake_core.ensemble.ensemble import Ensemble


def ensemble(
    members: Annotated[
        list[str], typer.Argument(help="Names, model files, packaged folders or runs.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; used afterwards as --detector FOLDER.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:PATH|PATH",
            help="Labelled data that no member was trained on, to choose weights and calibration; else equal weights.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What results and reports call it.")] = "ensemble",
    backend: Annotated[Backend, typer.Option(help="What runs the members meanwhile.")] = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Let detectors judge together: a weighted mean of their calibrated logits, saved as a detector of its own."""
    from deepfake_core.ensemble.ensemble import Ensemble
    from deepfake_core.loading.load import load

    loaded = [load(model_of(member), backend=backend.value, device=device, threads=threads) for member in members]
    together = Ensemble(loaded, name=name)
    if data is not None:
        together.fit(data)
    folder = together.save(out)
    _show(together)
    # With a separator it is taken for a path, whatever it is called.
    typer.echo(f"wrote {folder}; use it as --detector {folder}/")


def _show(together: Ensemble) -> None:
    from deepfake_bench.cli.output.text import columns
    from deepfake_bench.printable import printable

    fit = together.manifest.metrics.get("fit", {})
    aucs = [f"{member['auc']:.3f}" for member in fit["members"]] if fit else ["–"] * len(together.members)
    rows = [
        (printable(member.manifest.name), member.manifest.version, auc, f"{weight:.3f}")
        for member, auc, weight in zip(together.members, aucs, together.weights, strict=True)
    ]
    typer.echo(columns([("member", "version", "AUC", "weight"), *rows]))
    if fit:
        held_out = fit["auc_cross_validated"]
        typer.echo(
            f"AUC of the ensemble on {fit['faces']} faces of {fit['groups']} groups: {fit['auc']:.3f}; with equal "
            f"weights {fit['auc_equal']:.3f}"
            + (f"; with weights from the other folds {held_out:.3f}" if held_out is not None else "")
        )
