"""``dfbench ensemble``: combine several detectors into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import model_of
from deepfake_bench.cli.output.options import AllowSeen, Backend, BackendOption, Device, Threads
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_core.ensemble.ensemble import Ensemble


def ensemble(
    members: Annotated[
        list[str],
        typer.Argument(
            metavar="DETECTOR|RUN",
            autocompletion=completion.detectors,
            help="Names of detectors, see dfbench list; model files, packaged models or runs.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder to write; give it to other commands as --detector FOLDER/.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="[LAYOUT:]PATH",
            help="Labelled data that no member was trained on: weights and calibration are fitted to it; without it "
            "all weights are equal.",
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the ensemble in results and reports.")
    ] = "ensemble",
    allow_seen: AllowSeen = False,
    backend: BackendOption = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Combine several detectors into one.

    The weighted mean of their calibrated logits is saved as a detector of its own.

    Examples:
        dfbench ensemble lite runs/mine --out both/ --data my-pictures/
        dfbench predict photo.jpg --detector both/
    """
    from deepfake_core.ensemble.ensemble import Ensemble
    from deepfake_core.loading.load import load

    loaded = [load(model_of(member), backend=backend.value, device=device, threads=threads) for member in members]
    combined = Ensemble(loaded, name=name)
    if data is not None:
        combined.fit(data, allow_seen=allow_seen)
    folder = combined.save(out)
    _show(combined)
    # With a separator at its end it is taken for a path, whatever the folder is called.
    typer.echo(f"wrote {folder}; use it as --detector {folder}/")


def _show(combined: Ensemble) -> None:
    from deepfake_bench.cli.output.text import columns

    fit = combined.manifest.metrics.get("fit", {})
    aucs = [f"{member['auc']:.3f}" for member in fit["members"]] if fit else ["–"] * len(combined.members)
    rows = [
        (printable(member.manifest.name), member.manifest.version, auc, f"{weight:.3f}")
        for member, auc, weight in zip(combined.members, aucs, combined.weights, strict=True)
    ]
    typer.echo(columns([("member", "version", "AUC", "weight"), *rows]))
    if fit:
        held_out = fit["auc_cross_validated"]
        typer.echo(
            f"AUC of the ensemble on {fit['faces']} faces of {fit['groups']} groups: {fit['auc']:.3f}; with equal "
            f"weights {fit['auc_equal']:.3f}"
            + (f"; with weights from the other folds {held_out:.3f}" if held_out is not None else "")
        )
        typer.echo(printable(fit["labels"]))
