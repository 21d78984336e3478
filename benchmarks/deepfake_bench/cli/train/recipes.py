"""``dfbench recipes``: the training recipes of a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli.output.options import Changes, TrainedDetector
from deepfake_bench.cli.output.text import columns

if TYPE_CHECKING:
    from deepfake_core.contract.recipe import Phase


def recipes(
    detector: TrainedDetector,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|FILE.yaml", help="Recipe to print in full, as YAML.")
    ] = None,
    changes: Changes = None,
) -> None:
    """List the training recipes of a detector, or print one.

    A recipe is printed as YAML, which dfbench train --recipe accepts as a file.

    Examples:
        dfbench recipes lite
        dfbench recipes lite two-phase > my-recipe.yaml
    """
    from deepfake_core.discovery.plugins import detector_spec
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.runtimes.torch_side import import_torch
    from deepfake_core.training.checks import check_torch

    check_torch(detector)
    spec = detector_spec(detector)
    made = import_torch("make_detector", spec.install)(spec)
    from deepfake_core.training.recipes.resolve import recipes_of, resolve_recipe
    from deepfake_core.training.recipes.yaml_files import to_yaml

    if name is not None:
        typer.echo(to_yaml(resolve_recipe(made, name, changes or ())), nl=False)
        return
    if changes:
        raise DeepfakeError("--set changes one recipe: name it, as dfbench recipes DETECTOR NAME --set KEY=VALUE")
    rows = [("recipe", "samples", "batch", "phases")]
    for own, recipe in recipes_of(made).items():
        phases = ", then ".join(map(_length, recipe.phases))
        config = "".join(f", config.{key}={value}" for key, value in made.configs.get(own, {}).items())
        rows.append((own, recipe.samples, f"{recipe.batch_size} × {recipe.accumulate}", f"{phases}{config}"))
    typer.echo(columns(rows))


def _length(phase: Phase) -> str:
    lengths = {"epochs": phase.epochs, "steps": phase.steps, "minutes": phase.minutes}
    return next(f"{phase.name} {length:g} {unit}" for unit, length in lengths.items() if length is not None)
