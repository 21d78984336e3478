"""Train without each source of a dataset in turn, and measure what each model makes of the source it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deepfake_core.contract.recipe import LENGTHS, OF_MACHINE, TrainRecipe
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.datasets.labels import some
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import DeepfakeError, MissingExtra, TrainingDataError, WeightsUnavailable
from deepfake_core.handle.loaded import LoadedDetector, single
from deepfake_core.loading.load import load
from deepfake_core.training.checks import check_installed
from deepfake_core.training.gather import check_samples, store_of
from deepfake_core.training.leave_out.measure import measure, obstacle, rows_of
from deepfake_core.training.leave_out.results import (
    OF_SOURCE,
    RESULT,
    LeaveOneOut,
    LeftOut,
    Skipped,
    folder_of,
    read_results,
    read_source,
    write,
)
from deepfake_core.training.leave_out.start import Start
from deepfake_core.training.recipes.resolve import config_of, resolve_recipe
from deepfake_core.training.recipes.settings import differences, validated
from deepfake_core.training.runs.files import first_line, status
from deepfake_core.training.train import train_detector

log = logging.getLogger("deepfake.training")

FACES = 2000
"""Largest number of faces that are judged of each source, by default."""


def leave_one_out(
    detector: str | LoadedDetector,
    data: str | Path,
    run_dir: str | Path,
    recipe: str | Path | TrainRecipe = "default",
    *,
    sources: Sequence[str] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    faces: int = FACES,
    device: str = "auto",
    cache_dir: str | Path | None = None,
    download: bool = False,
    track: Sequence[str] | None = None,
    start: LoadedDetector | None = None,
    on_start: Callable[[TrainRecipe], object] | None = None,
) -> LeaveOneOut:
    """Train without each source of a dataset in turn, and measure each model on the source that it has not seen.

    These figures predict what a recipe does on sources that nobody has seen, and recipes are compared by them. Each run
    is an ordinary one in a folder of its own. The same call goes on where it was interrupted; finished sources are not
    run again. Several processes may work in one folder: each takes a source on which no other works.

    Args:
        detector: Name of an installed detector, or a loaded one, whose architecture is trained from initial weights.
        data: Training data: how to open them, ``"NAME:PATH?option=value"``, or a path whose layout is recognised. Their
            own test split is neither trained nor measured on.
        run_dir: Folder of the results, which holds one folder for each run.
        recipe: Recipe, name of a recipe, or YAML file that holds one. Sources in its ``leave_out`` are always left out.
        sources: Sources to leave out in turn; by default all.
        steps: Optimiser steps of each run, in place of the recipe's lengths.
        minutes: Minutes of training of each run, in place of the recipe's lengths.
        faces: Largest number of faces that are judged of each source.
        device: Device: ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache_dir: Folder for prepared faces, which all runs share; by default inside ``run_dir``.
        download: Whether to download the backbone's public weights where they are not on this machine.
        track: Trackers of each run, as ``train`` takes them.
        start: Model whose weights every run starts from, such as one that was trained by fakes of the recipe's own
            making alone. What it was trained on is not judged, and no source is left out that it knows fakes of, or
            nothing but real faces.
        on_start: Function that is called with the recipe of the runs once everything was checked that can be checked
            before the data are read.

    Returns:
        All results, the worst source first. A source that could not be left out is named in ``skipped`` with the
        reason, and one on which another process works in ``missing``.

    Raises:
        MissingExtra: A package that training needs is not installed.
        WeightsUnavailable: The backbone's public weights are not on this machine, or cannot be downloaded.
        TrainingDataError: The data are missing or ambiguous, or have no such source.
        DeepfakeError: There is no such recipe, ``start`` is another network or does not say what it was trained on, or
            the folder holds results of another recipe, detector, start or data.
    """
    loaded = single(load(detector, untrained=True)) if isinstance(detector, str) else detector
    trained = loaded.detector
    config = config_of(trained, recipe)
    if config != trained.config:
        loaded = single(load(loaded.manifest.architecture, untrained=True, config=config.model_dump(mode="json")))
        trained = loaded.detector
    # Overlays and an audit of every run would only cost time.
    short = shortened(resolve_recipe(trained, recipe), steps, minutes)
    settings = short.model_copy(update={"explain": 0, "shortcut_samples": 0})
    folder = Path(run_dir)
    cache = Path(cache_dir) if cache_dir is not None else folder / "cache"
    check_samples(trained, settings)
    begun = Start.of(start) if start is not None else None
    dataset = open_dataset(data)
    check_installed(trained, settings, track or (), (dataset,))
    if on_start is not None:
        on_start(settings)
    store = store_of(trained, dataset, settings, cache)
    wanted = _sources(store, settings, sources)
    result = _begun(
        folder,
        LeaveOneOut(
            detector=loaded.manifest.architecture,
            config=config.model_dump(mode="json"),
            recipe=settings,
            data=str(data),
            content=store.fingerprint,
            faces=faces,
            start=begun.name if begun else None,
        ),
    )
    options: dict[str, Any] = {"device": device, "cache_dir": cache, "download": download, "test": False}
    options |= {} if track is None else {"track": track}
    skipped: list[Skipped] = []
    result = collect(result, folder, wanted)
    log.info("%d runs, each without one source: %s", len(wanted), some(wanted, 50))
    for number, source in enumerate(wanted, start=1):
        if reason := _run(result, loaded, store, source, folder, options, begun, f"{number} of {len(wanted)}"):
            log.warning("%s cannot be left out: %s", source, reason)
            skipped.append(Skipped(source=source, reason=reason))
        result = collect(result, folder, wanted, skipped)
    return result


def shortened(recipe: TrainRecipe, steps: int | None = None, minutes: float | None = None) -> TrainRecipe:
    """Return a recipe with another length, which its phases share in the proportion that they have.

    Raises:
        DeepfakeError: Both lengths are given, or one is not above 0; the phases have different units; or the recipe
            has settings that need another length.
    """
    if steps is None and minutes is None:
        return recipe
    if steps is not None and minutes is not None:
        raise DeepfakeError("--steps and --minutes both say how long each run is; give one of them")
    unit, length = ("steps", float(steps)) if steps is not None else ("minutes", minutes or 0.0)
    if not length > 0:
        raise DeepfakeError(f"--{unit} {length:g}: must be above 0")
    units = [next(name for name in LENGTHS if getattr(phase, name) is not None) for phase in recipe.phases]
    if len(set(units)) > 1:
        raise DeepfakeError(
            f"the phases of the recipe are given in {some(sorted(set(units)))}, so that --{unit} cannot be "
            f"divided among them; set each: --set phases.0.{unit}=…"
        )
    whole = sum(getattr(phase, units[0]) for phase in recipe.phases)
    phases = []
    for phase in recipe.phases:
        part = length * getattr(phase, units[0]) / whole
        lengths = {**dict.fromkeys(LENGTHS), unit: max(1, round(part)) if unit == "steps" else part}
        phases.append({**phase.model_dump(mode="json"), **lengths})
    return validated(TrainRecipe, {**recipe.model_dump(mode="json"), "phases": phases}, f"--{unit} {length:g}")


def _sources(store: CropStore, recipe: TrainRecipe, wanted: Sequence[str] | None) -> list[str]:
    """Return the sources to leave out, in the order of their names or in the one that was asked for.

    Raises:
        TrainingDataError: There is no such source.
    """
    known = [name for name in sorted(store.source_names) if name not in recipe.leave_out and len(rows_of(store, name))]
    if wanted is None:
        return known
    if unknown := [name for name in wanted if name not in known]:
        raise TrainingDataError(
            f"{store.dataset}: no source {some(unknown)} to leave out; there are: {some(known, 50)}"
        )
    return list(dict.fromkeys(wanted))


def _begun(folder: Path, result: LeaveOneOut) -> LeaveOneOut:
    """Return the results that the folder holds, and begin anew where it holds none.

    Raises:
        DeepfakeError: They are those of another recipe, detector or data.
    """
    if not (folder / RESULT).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(result, folder / RESULT)
        return result
    before = read_results(folder)
    of_machine = {name: getattr(result.recipe, name) for name in OF_MACHINE}
    other = differences(before.recipe.model_copy(update=of_machine), result.recipe)
    other += [
        f"{name}: {getattr(before, name)} → {getattr(result, name)}"
        for name in ("detector", "config", "content", "faces", "start")
        if getattr(before, name) != getattr(result, name)
    ]
    if other:
        raise DeepfakeError(
            f"{folder}: holds the results of other runs ({'; '.join(other)}); repeat the command that began them, or "
            "name another --run-dir"
        )
    return result


def _run(
    result: LeaveOneOut,
    loaded: LoadedDetector,
    store: CropStore,
    source: str,
    folder: Path,
    options: dict[str, Any],
    begun: Start | None,
    place: str,
) -> str:
    """Train without a source and judge it, unless that is done; return why it cannot be done."""
    run = folder / folder_of(source)
    recipe = result.recipe.model_copy(update={"leave_out": (*result.recipe.leave_out, source)})
    if read_source(run) is not None:
        log.info("%s was left out before (%s)", source, place)
        return ""
    if reason := obstacle(store, recipe) or (begun.obstacle(store, rows_of(store, source)) if begun else ""):
        return reason
    state = status(run) if run.is_dir() else "absent"
    if state == "running":
        log.info("%s is being left out by another process (%s)", source, place)
        return ""
    log.info("leaving out %s (%s)", source, place)
    try:
        if state != "finished" or not (run / "model").is_dir():
            train_detector(loaded, result.data, recipe, run, resume=True, start=begun and begun.model, **options)
        model = single(load(run, backend="torch", device=options["device"]))
        row, scores = measure(model, store, recipe, source, run, result.faces, begun)
    except (MissingExtra, WeightsUnavailable):  # which no other source would change
        raise
    except DeepfakeError as error:
        return first_line(error)
    scores.write(run)
    write(row, run / OF_SOURCE)
    return ""


def collect(result: LeaveOneOut, folder: Path, wanted: Sequence[str], skipped: Sequence[Skipped] = ()) -> LeaveOneOut:
    """Return the results of all runs in a folder, those of earlier calls included, and write them.

    Args:
        result: How the runs were made.
        folder: Folder of the runs.
        wanted: Sources that are left out in turn.
        skipped: Sources that cannot be left out.
    """
    found = list(_results(folder))
    there = {row.source for row in found} | {one.source for one in skipped}
    complete = result.with_results(found, skipped, [name for name in wanted if name not in there])
    write(complete, folder / RESULT)
    return complete


def _results(folder: Path) -> Iterator[LeftOut]:
    for file in sorted(folder.glob(f"*/{OF_SOURCE}")):
        if (row := read_source(file.parent)) is not None:
            yield row
