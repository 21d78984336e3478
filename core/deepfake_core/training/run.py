"""One training run, from a dataset to a packaged, tested and explained model: what ``dfbench train`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import cv2
import numpy as np
from safetensors.torch import load_file
from torch import nn

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.manifest import held_out_hashes
from deepfake_core.data.seen import refuse_seen
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.discovery.artifacts import Package, read_package
from deepfake_core.discovery.training_groups import Seen
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.loading.load import load
from deepfake_core.progress import duration
from deepfake_core.runtimes.torch import check_outputs
from deepfake_core.training.checks import check_installed
from deepfake_core.training.data.stores import SplitIdentity
from deepfake_core.training.data.training_data import TrainingData
from deepfake_core.training.data.validation import validation_logits, validation_metrics
from deepfake_core.training.evaluate import evaluate_test_split
from deepfake_core.training.gather import check_samples, gather, test_samples
from deepfake_core.training.loop import checkpoint
from deepfake_core.training.loop.accelerator import make_accelerator, seed_everything
from deepfake_core.training.loop.hooks import Hooks
from deepfake_core.training.loop.loop import fit
from deepfake_core.training.loop.step import working_precision
from deepfake_core.training.loop.teacher import load_teacher
from deepfake_core.training.overlays import write_overlays
from deepfake_core.training.packaging import package_model
from deepfake_core.training.recipes.deadline import seconds_until
from deepfake_core.training.runs.entries import advice_of, entry_of
from deepfake_core.training.runs.record import RunRecord
from deepfake_core.training.runs.rundir import RunDir, refuse_leftovers
from deepfake_core.training.shortcuts.drawn import audit_run
from deepfake_core.training.trackers.opening import open_trackers
from deepfake_core.training.workers import end_while_starting
from deepfake_registry.provenance import SourceTerms

log = logging.getLogger("deepfake.training")

FULL_PRECISION = 4.0
"""Time of a forward pass in full precision, at most, as a multiple of one in mixed precision."""

Data = Dataset | str | Path
"""A dataset, or how to open one: ``NAME:PATH?option=value``, or a path whose layout is recognised."""


def train(
    name: str,
    detector: Detector,
    data: Data,
    recipe: TrainRecipe,
    run_dir: Path,
    *,
    valid: Data | None = None,
    test: Data | Literal[False] | None = None,
    device: str = "auto",
    cache_dir: Path | None = None,
    track: Sequence[str] = ("tensorboard",),
    resume: bool = False,
    start: LoadedDetector | None = None,
    download: bool = False,
    terms: Sequence[SourceTerms] = (),
    tries: TrainRecipe | None = None,
    on_start: Callable[[], object] | None = None,
    on_validation: Callable[[int, dict[str, float]], None] | None = None,
    stop_at: str | datetime | None = None,
    minutes: float | None = None,
    allow_seen: bool = False,
) -> Package:
    """Train a detector, package the model, test it once, and draw overlays of validation samples.

    Args:
        name: Name of the detector's plugin.
        detector: Detector to train.
        data: Training data. Where the dataset has splits, they are used; otherwise whole groups are held out for
            validation.
        recipe: Recipe of the run.
        run_dir: Folder of the run, which takes everything that is written.
        valid: Validation data; by default a part of ``data``.
        test: Test data, which are measured once, at the end; by default the test split of ``data``, if it has one.
            ``False`` measures none, for runs that are compared with each other before one of them is chosen.
        device: Device: ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache_dir: Folder for prepared faces; by default inside ``run_dir``.
        track: Trackers, as :func:`~deepfake_core.training.trackers.opening.open_trackers` takes them.
        resume: Whether to go on with the run that ``run_dir`` holds.
        start: Model of the same architecture whose weights the run starts from; by default the recipe decides between
            the backbone's public weights and random ones.
        download: Whether to download the backbone's public weights where they are not on this machine.
        terms: Licence terms of the sources, for the model's provenance; by default those that a pack of crops holds.
        tries: Recipe that the run tries out in small, whose packages must be installed, too.
        on_start: Function that is called once everything was checked that can be checked before the data are read.
        on_validation: Function that is called with the step and the metrics of each validation; it may raise
            :class:`~deepfake_core.training.loop.hooks.Stopped`.
        stop_at: Moment by which the model is packaged, whatever the length of the recipe's phases, which then is the
            greatest one: a time of the day such as ``"20:30"``, or a date with a time. The schedules come to their ends
            by then. It belongs to this call: a run that is resumed needs it again.
        minutes: The same, in minutes from the beginning of this call.
        allow_seen: Whether ``start`` may have been trained on groups that validate or test this run.

    Returns:
        The package in ``run_dir/model``.

    Raises:
        MissingExtra: Packages are missing; one message names all of them. Nothing has been written.
        TrainingDataError: The data are unusable, or ``start`` was trained on what is to validate or test this run; the
            message says why.
        WeightsUnavailable: The backbone's public weights are not on this machine, or cannot be downloaded.
        DeepfakeError: The folder holds another run, ``start`` is another network, the memory is exhausted, the loss is
            not finite, or there is no time left to train.
    """
    seconds = seconds_until(stop_at, minutes)
    deadline = None if seconds is None else monotonic() + seconds
    end_while_starting()
    # Refuse before any work, and before anything is written.
    check_samples(detector, recipe)
    accelerator = make_accelerator(device)
    if accelerator.is_main_process:
        refuse_leftovers(run_dir, resume=resume)
    dataset, validating, testing = (_opened(given) for given in (data, valid, test or None))
    assert dataset is not None
    check_installed(detector, recipe, track, (dataset, validating, testing), tries)
    if not terms and isinstance(dataset, StoredCrops) and dataset.store.packed is not None:
        terms = dataset.store.packed.terms
    seed_everything(recipe.seed)
    network = detector.build()
    check_outputs(network, detector.manifest(name, "untrained"))
    if start is not None:
        _copy_weights(start, network)
    elif recipe.pretrained:
        detector.init_pretrained(network, download=download)
    teacher = load_teacher(recipe, detector, accelerator.device)
    cv2.setNumThreads(0)  # a data-loading process that is forked while OpenCV has threads would hang
    settings = {
        "detector": name,
        "config": detector.config.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "data": _spec(data),
        "valid": _spec(valid),
        "test": _spec(test or None),
        "start": f"{start.manifest.name} {start.manifest.version}" if start else None,
        **({"teacher": teacher.name} if teacher else {}),
    }
    run = RunDir(run_dir, resume=resume, writes=accelerator.is_main_process)
    with run, run.log_file():
        if on_start is not None:
            on_start()
        with accelerator.main_process_first():
            seed_everything(recipe.seed)
            cache = cache_dir or run_dir / "cache"
            training_data = gather(detector, dataset, validating, recipe, cache, accelerator.device)
            detector.before_training(training_data.training, recipe, cache, accelerator.device)
        precision = working_precision(recipe.precision, accelerator.device)
        run.start(
            settings,
            {"data": _spec(data), **training_data.summary(dataset)},
            device=str(accelerator.device),
            precision=precision,
        )
        run.record_images(training_data.first_names, training_data.rejected)
        training_data.check(recipe)
        if start is not None:
            _check_start(start, training_data.validated, "validation", allow_seen=allow_seen or bool(recipe.overfit))
        tested = None
        if accelerator.is_main_process and test is not False:
            tested = test_samples(dataset, testing)
        if tested:
            SplitIdentity.of(tested[1]).check_disjoint(
                training_data.identity, "the test samples and those of training or validation", recipe
            )
            if start is not None:
                _check_start(start, SplitIdentity.of(tested[1]), "test", allow_seen=allow_seen)
        held_out: tuple[str, ...] = ()
        if accelerator.is_main_process:  # all files may have to be read, so that it takes long: not at the end
            held_out = held_out_hashes(validating if validating is not None else dataset, training_data.hashes)
        if deadline is not None:
            moment = datetime.now() + timedelta(seconds=deadline - monotonic())
            then = "; the test samples are measured after that" if tested else ""
            log.info("the model will be packaged by %s, however long the recipe is%s", f"{moment:%Y-%m-%d %H:%M}", then)
        if teacher is not None:
            for said in teacher.warnings:
                log.warning("%s", said)
            log.info("%s", teacher.cost(recipe.batch_size))
        if accelerator.is_main_process:
            audit_run(training_data.training, recipe, run)
        seed_everything(recipe.seed)
        tracker = open_trackers(track, run)
        tracker.start(settings, _step_of(run) if run.resumed else 0)
        ending: Literal["finished", "failed"] = "failed"
        faster = precision != "fp32" and accelerator.device.type != "cpu"  # a CPU validates in full precision
        try:
            progress = fit(
                detector,
                network,
                training_data.feed(recipe, accelerator),
                lambda model: validation_metrics(
                    validation_logits(
                        model,
                        training_data.validation.images,
                        precision=precision,
                        rank=accelerator.process_index,
                        processes=accelerator.num_processes,
                    ),
                    training_data.validation,
                ),
                recipe,
                run,
                accelerator,
                Hooks(
                    **({"on_validation": on_validation} if on_validation else {}),
                    log=tracker.log,
                    flush=tracker.flush,
                    augment=training_data.augment(accelerator.device),
                    targets=teacher.targets if teacher else None,
                ),
                deadline=deadline,
                # For the package, the first process alone scores all validation samples again, in full precision.
                after=accelerator.num_processes * (FULL_PRECISION if faster else 1.0),
            )
            ending = "finished"
        finally:
            tracker.close(ending)
        if accelerator.is_main_process:
            taken = {
                "steps": progress.step,
                "images": progress.images,
                "bit_reproducible": accelerator.device.type == "cpu" and not progress.by_clock,
            }
            begun = monotonic()
            network.load_state_dict(load_file(run.best))
            package_model(
                name,
                detector,
                network,
                training_data,
                progress.best,
                recipe,
                run,
                data=_spec(data),
                held_out=held_out,
                terms=terms,
                start=start,
                teacher=teacher.provenance() if teacher else None,
                taken=taken,
            )
            late = 0.0 if deadline is None else monotonic() - deadline
            if minutes_of_phase := recipe.phases[-1].minutes:
                late = max(late, progress.phase_seconds + monotonic() - begun - 60 * minutes_of_phase)
            if late > 1:
                log.warning("the model was packaged %s late: the end took longer than what came before", duration(late))
            _conclude(training_data, tested, recipe, run, device, {**taken, "seconds": round(progress.seconds, 3)})
        accelerator.wait_for_everyone()
    return read_package(run.model)


def _conclude(
    training_data: TrainingData,
    tested: tuple[Dataset, list[Any]] | None,
    recipe: TrainRecipe,
    run: RunDir,
    device: str,
    taken: dict[str, Any],
) -> None:
    """Test the packaged model once, draw overlays, write the run's metrics, and add the run to the record."""
    loaded = load(run.model, backend="torch", device=device)
    summary: dict[str, Any] = {"best_val_auc": loaded.manifest.metrics["validation"].get("auc"), "training": taken}
    if tested is not None:
        measured = evaluate_test_split(loaded, *tested, run, recipe.pairs.beside)
        summary["test_metrics"] = {"auc": measured["auc"], "accuracy": measured["accuracy"]}
    validation = training_data.validation
    if recipe.explain:
        chosen = np.linspace(0, len(validation.fake) - 1, min(recipe.explain, len(validation.fake))).astype(int)
        write_overlays(
            loaded,
            np.stack([validation.images[int(row) : int(row) + 1][0] for row in chosen]),
            validation.fake[chosen],
            [validation.names[int(row)] for row in chosen],
            run.explain,
        )
    run.finish(summary)
    for said in advice_of(run.folder):
        log.warning("%s", said)
    try:
        log.info("%s", RunRecord(run.folder.resolve().parent).add(entry_of(run.folder)).reason)
    except (OSError, DeepfakeError) as error:  # the record is beside the run; all that the run was for is done
        log.warning(
            "%s is complete, but is not in the record of runs: %s; once that is mended: dfbench runs record %s",
            run.folder,
            error,
            run.folder,
        )


def _check_start(start: LoadedDetector, split: SplitIdentity, name: str, *, allow_seen: bool) -> None:
    """Refuse validation or test samples on which the weights were trained that the run starts from."""
    known = start.training_groups
    seen = Seen(0, 0, known=False) if known is None else known.seen(split.groups(), split.files())
    said = refuse_seen(
        f"{start.manifest.name} {start.manifest.version}",
        replace(seen, validated=0),  # going on by the same validation data is what a run does
        f"the {name} data",
        "what is selected, calibrated or measured",
        "hold out what it has not seen (groups of the same names as in its own training data, and a validation_share "
        "that is not larger), or name other data",
        allow_seen=allow_seen,
    )
    if said:
        log.warning("%s", said)


def _copy_weights(start: LoadedDetector, network: nn.Module) -> None:
    try:
        network.load_state_dict(start.network.state_dict())
    except RuntimeError as error:
        raise DeepfakeError(
            f"{start.manifest.name} {start.manifest.version} is another network than the one to train; start from a "
            "model of the same architecture and hyper-parameters"
        ) from error


def _opened(data: Data | None) -> Dataset | None:
    return data if data is None or isinstance(data, Dataset) else open_dataset(data)


def _spec(data: Data | None) -> str | None:
    """Return the data as text, for the run's settings."""
    return str(data.root) if isinstance(data, Dataset) else None if data is None else str(data)


def _step_of(run: RunDir) -> int:
    return int(checkpoint.read(run.last)["progress"]["step"]) if run.last.exists() else 0
