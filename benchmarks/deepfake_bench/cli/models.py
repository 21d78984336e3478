"""The model that a command line names: an installed detector, a model file, a packaged model or a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


def model_of(source: str) -> str:
    """Return what :func:`deepfake_core.load` takes for a model: a plain word that names a model's folder as a path.

    The name of an installed detector is always a name: a folder that is called so must not hide it. Any other word is
    the folder of that name here; or else a model that was placed in the folder of ``DEEPFAKE_WEIGHTS``, or the ensemble
    ``best``, whose path is returned. Where the best model of a run is not its last one, a line says so.
    """
    from deepfake_core.discovery import plugins
    from deepfake_core.discovery.artifacts import ENSEMBLE_FILE, is_path, package_folder
    from deepfake_core.discovery.placed import place_of
    from deepfake_core.discovery.registry_source import is_registered_name
    from deepfake_registry.manifest import MANIFEST_FILE

    folder = Path(source)
    if source in plugins.detectors():
        return source
    if not folder.is_dir():
        place = None if is_path(source) or is_registered_name(source) else place_of(source)
        return source if place is None else str(place.resolve())
    named = source if is_path(source) else f"./{source}"
    if (folder / ENSEMBLE_FILE).is_file():
        return named
    if (run := run_of(source)) is not None:
        _say_which(run)
    elif not (package_folder(folder) / MANIFEST_FILE).is_file():
        return source
    return named


def run_of(source: str) -> Path | None:
    """Return the folder of the training run whose folder, or whose packaged model, a user names."""
    from deepfake_core.discovery.artifacts import RUN_MODEL

    folder = Path(source)
    places = (folder, folder.parent) if folder.name == RUN_MODEL else (folder,)
    return next((place for place in places if (place / "config.yaml").is_file()), None)


def trained_model(source: str, *, weights: str | None = None, download: bool = False) -> LoadedDetector:
    """Load a detector's name, a model file or the folder of a run in torch.

    Raises:
        DeepfakeError: It is an ensemble, which has no network of its own.
    """
    from deepfake_core.handle.loaded import single
    from deepfake_core.loading.load import load

    return single(load(model_of(source), backend="torch", weights=weights, download=download))


def _say_which(run: Path) -> None:
    """Say which of a run's validations its model is of, where that is not the last one."""
    import typer

    from deepfake_core.discovery.artifacts import read_package
    from deepfake_core.training.runs.files import read_history

    best = read_package(run).manifest.metrics.get("validation", {}).get("step")
    history = read_history(run)
    if best is not None and history and history[-1]["step"] > best:
        last = history[-1]["step"]
        typer.echo(
            f"{run}: takes the model of its best validation, step {best:g}; the last one was step {last:g}", err=True
        )
