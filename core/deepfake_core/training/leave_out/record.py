"""Keep the results in the package of a model that was trained by the same recipe on all sources."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from deepfake_core.contract.recipe import OF_MACHINE
from deepfake_core.discovery.artifacts import Package, read_package, write_package
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.leave_out.results import LeaveOneOut
from deepfake_core.training.recipes.resolve import recipe_of
from deepfake_core.training.recipes.settings import differences
from deepfake_registry.manifest import MANIFEST_KEY

METRIC = "leave_one_out"
"""Key of the results in the ``metrics`` of a manifest."""

_OF_RUNS = ("leave_out", "explain", "shortcut_samples", *OF_MACHINE)
"""Settings that differ between a run and those without a source."""


def into_package(found: LeaveOneOut, folder: str | Path) -> tuple[Package, tuple[str, ...]]:
    """Write results into the manifest of a package, and into the copy of it in the file of its weights.

    Args:
        found: Results of the recipe by which the model was trained.
        folder: Folder of the package, or of the run that packaged it.

    Returns:
        The package, and the settings in which the recipe of the model differs from that of the results; the package
        keeps these, too.

    Raises:
        DeepfakeError: The package is of another detector; it holds other files than weights for torch, which have
            copies of the manifest, too; or there are no results.
        ArtifactCorrupt: The folder holds no package, or a file of it is damaged.
        MissingExtra: torch is not installed.
    """
    try:
        from safetensors.torch import load_file, save_file
    except ModuleNotFoundError as error:
        raise MissingExtra("writing weights for torch", "deepfake-core[torch]") from error
    if not found.sources:
        raise DeepfakeError(f"{folder}: no source has been left out yet, so that there is nothing to write")
    package = read_package(folder)
    manifest = package.manifest
    if manifest.architecture != found.detector:
        raise DeepfakeError(
            f"{folder}: is a model of {manifest.architecture!r}, and the results are of {found.detector!r}"
        )
    weights = package.artifact("safetensors")
    if weights is None or len(manifest.files) > 1:
        raise DeepfakeError(
            f"{folder}: holds {', '.join(manifest.files)}; name the run that it was exported from, and export it again"
        )
    differs = tuple(_differences(found, package))
    metrics = manifest.metrics | {METRIC: {**found.short(), "differs": list(differs)}}
    manifest = manifest.model_copy(update={"metrics": metrics})
    with TemporaryDirectory() as temporary:
        file = Path(temporary) / f"{manifest.name}.safetensors"
        save_file(load_file(weights.path), file, {MANIFEST_KEY: manifest.embedded().model_dump_json()})
        return write_package(package.folder, manifest, {"safetensors": file}, package.groups_file()), differs


def _differences(found: LeaveOneOut, package: Package) -> list[str]:
    own = recipe_of(package.manifest)
    if own is None:
        return ["the package does not say how it was trained"]
    same = {name: getattr(found.recipe, name) for name in _OF_RUNS}
    said = differences(found.recipe, own.model_copy(update=same))
    config = package.manifest.config
    return said + ([] if config == found.config else [f"config: {found.config} → {config}"])
