"""One training run, from a dataset to a packaged, tested and explained model: what ``dfbench train`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from safetensors.torch import load_file, save_file
from torch import nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.manifest import held_out_hashes
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.discovery.artifacts import Package, read_package, write_package
from deepfake_core.evaluation.calibration import fit_calibration
from deepfake_core.training.data.split_identity import SplitIdentity
from deepfake_core.training.data.training_data import ROLES, TrainingData
from deepfake_core.training.data.validation import validation_logits, validation_metrics
from deepfake_core.training.evaluate import test_once
from deepfake_core.training.gather import check_samples, gather, test_samples
from deepfake_core.training.loop.accelerator import make_accelerator
from deepfake_core.training.loop.hooks import Hooks
from deepfake_core.training.loop.loop import fit
from deepfake_core.training.loop.seeding import seed_everything
from deepfake_core.training.loop.step import working_precision
from deepfake_core.training.runs.rundir import RunDir
from deepfake_core.training.trackers.opening import open_trackers
from deepfake_registry.files import atomic_path, sha256_file
from deepfake_registry.manifest import MANIFEST_KEY, DataSource
from deepfake_registry.provenance import SourceTerms, find_terms

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

log = logging.getLogger("deepfake.training")

Data = Dataset | str | Path


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
    terms: Sequence[SourceTerms] = (),
    on_validation: Callable[[int, dict[str, float]], None] | None = None,
) -> Package:
    """Train a detector, package what came out of it, test it once, and show where it looks.

    Args:
        name: Name of the detector's plugin.
        detector: What to train.
        data: Where to learn from: a dataset, or how to open one (``NAME:PATH?option=value``, or a path). Where it
            has splits of its own, they hold; otherwise whole groups are held out for validation.
        recipe: How to train.
        run_dir: Where everything is written.
        valid: Held-out data to select on, instead of a part of ``data``.
        test: Data to measure once, at the end; by default the test split of ``data`` where it has one. ``False``
            measures none, for runs that are compared with each other before one of them is chosen.
        device: ``"auto"`` takes a GPU where there is one.
        cache_dir: Where prepared faces are kept; by default inside ``run_dir``.
        track: Where curves go, as :func:`~deepfake_core.training.trackers.opening.open_trackers` takes it.
        resume: Go on with the run that ``run_dir`` holds.
        start: A trained model of the same architecture to go on from; by default the recipe decides.
        terms: Licence terms of each source, for the model's provenance.
        on_validation: Called with the step and the metrics of each validation; may raise
            :class:`~deepfake_core.training.loop.loop.Stopped`.

    Returns:
        The package in ``run_dir/model``.

    Raises:
        TrainingDataError: The data are unusable; the message says why.
        DeepfakeError: The folder holds another run, memory ran out, or the loss is no number.
    """
    check_samples(detector, recipe)  # refuse before any work
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of a data-loading worker, which would hang
    accelerator = make_accelerator(device)
    dataset, validating, testing = (_opened(given) for given in (data, valid, test or None))
    assert dataset is not None
    settings = {
        "detector": name,
        "config": detector.config.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "data": _spec(data),
        "valid": _spec(valid),
        "test": _spec(test or None),
        "start": f"{start.manifest.name} {start.manifest.version}" if start else None,
    }
    run = RunDir(run_dir, resume=resume, writes=accelerator.is_main_process)
    with run, run.log_file():
        with accelerator.main_process_first():
            seed_everything(recipe.seed)
            cache = cache_dir or run_dir / "cache"
            training_data = gather(detector, dataset, validating, recipe, cache, accelerator.device)
            detector.before_training(training_data.training, recipe, cache, accelerator.device)
        run.start(
            settings,
            {"data": _spec(data), **training_data.summary(dataset)},
            device=str(accelerator.device),
            precision=working_precision(recipe.precision, accelerator.device),
        )
        run.record_images(training_data.first_names, training_data.rejected)
        training_data.check(recipe)
        tested = None
        if accelerator.is_main_process and test is not False:
            tested = test_samples(dataset, testing)
        if tested:
            SplitIdentity.of(tested[1]).check_disjoint(
                training_data.identity, "the test samples and those of training or validation", recipe
            )
        seed_everything(recipe.seed)
        network = detector.build()
        if start is not None:
            network.load_state_dict(start.network.state_dict())
        elif recipe.pretrained:
            detector.init_pretrained(network)

        watching = open_trackers(track, run)
        watching.start(settings, _step_of(run) if run.resumed else 0)
        ending: Literal["finished", "failed"] = "failed"
        try:
            progress = fit(
                detector,
                network,
                training_data.training,
                lambda model: validation_metrics(
                    validation_logits(
                        model,
                        training_data.validation.images,
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
                    log=watching.log,
                    flush=watching.flush,
                    augment=training_data.augment(accelerator.device),
                ),
            )
            ending = "finished"
        finally:
            watching.close(ending)
        if accelerator.is_main_process:
            network.load_state_dict(load_file(run.best))
            held_out = held_out_hashes(validating if validating is not None else dataset, training_data.hashes)
            _package(
                name, detector, network, training_data, progress.best, recipe, run, _spec(data), held_out, terms, start
            )
            _conclude(training_data, tested, recipe, run, device)
        accelerator.wait_for_everyone()
    return read_package(run.model)


def _package(
    name: str,
    detector: Detector,
    network: nn.Module,
    training_data: TrainingData,
    best: Mapping[str, float],
    recipe: TrainRecipe,
    run: RunDir,
    data: str | None,
    held_out: tuple[str, ...],
    terms: Sequence[SourceTerms],
    start: LoadedDetector | None,
) -> None:
    """Calibrate the trained network on validation and write it, with its manifest, to ``model/``."""
    validation = training_data.validation
    model = WithPreprocess(network, detector.preprocess).to(next(network.parameters()).device)
    logit = validation_logits(model, validation.images)
    network.cpu()
    fitted_on = f"validation split of {Path(data or '').name}: {len(logit)} samples"
    manifest = detector.manifest(
        name,
        "trained",
        version=sha256_file(run.best)[:8],
        calibration=fit_calibration(logit, validation.fake.astype(np.float64), validation.family, fitted_on, held_out),
        provenance=_provenance(training_data, terms),
        training={**recipe.model_dump(mode="json"), "start": start.manifest.training if start else None},
        metrics={"validation": dict(best)},
    )
    weights = run.folder / f"{name}.safetensors"
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()},
        weights,
        {MANIFEST_KEY: manifest.model_dump_json()},
    )
    with atomic_path(run.folder / "validation_scores.npz") as path, path.open("wb") as stream:
        np.savez_compressed(stream, logit=logit, fake=validation.fake, family=validation.family)
    write_package(run.model, manifest, {"safetensors": weights})
    weights.unlink()


def _conclude(
    training_data: TrainingData, tested: tuple[Dataset, list[Any]] | None, recipe: TrainRecipe, run: RunDir, device: str
) -> None:
    """Test once, draw overlays, close the run's metrics, and enter it into the record of all runs."""
    from deepfake_core.loading.load import load
    from deepfake_core.training.overlays import write_overlays
    from deepfake_core.training.runs.entries import entry_of
    from deepfake_core.training.runs.record import RunRecord

    loaded = load(run.model, backend="torch", device=device)
    summary: dict[str, Any] = {"best_val_auc": loaded.manifest.metrics["validation"].get("auc")}
    if tested is not None:
        measured = test_once(loaded, *tested, run)
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
    promotion = RunRecord(run.folder.resolve().parent).add(entry_of(run.folder))
    log.info("%s", promotion.reason)


def _provenance(training_data: TrainingData, terms: Sequence[SourceTerms]) -> tuple[DataSource, ...]:
    return tuple(
        DataSource(
            name=source,
            role=ROLES[fake],
            count=count,
            terms=known.terms if (known := find_terms(terms, source, ROLES[fake])) else "not stated",
        )
        for (source, fake), count in training_data.counts.items()
    )


def _opened(data: Data | None) -> Dataset | None:
    return data if data is None or isinstance(data, Dataset) else open_dataset(data)


def _spec(data: Data | None) -> str | None:
    return str(data.root) if isinstance(data, Dataset) else None if data is None else str(data)


def _step_of(run: RunDir) -> int:
    from deepfake_core.training.loop import checkpoint

    return int(checkpoint.read(run.last)["progress"]["step"]) if run.last.exists() else 0
