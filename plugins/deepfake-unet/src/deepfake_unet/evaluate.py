"""``python -m deepfake_unet.evaluate``: the effect of the protection, measured on faces that no training saw.

It is measured on the validation faces of the run, for its surrogates and for networks that it was not trained against:
another face swapper, another autoencoder, and the features of any detector. The results are JSON, a chart and a sheet
of images.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from deepfake_core import Box, DeepfakeError, LoadedDetector, TrainRecipe, WeightsUnavailable, load
from deepfake_core.protect.image_metrics import psnr, ssim
from deepfake_core.protect.protectors import change_of, load_protector
from deepfake_core.training.data.training_data import TrainingData
from deepfake_core.training.held_out import training_data_of
from deepfake_core.training.loop.accelerator import seed_everything
from deepfake_core.training.recipes.resolve import recipe_of
from deepfake_registry.files import write_atomic
from deepfake_unet.command import run
from deepfake_unet.detector import DEFAULT
from deepfake_unet.effects import PATHS, Effect, Images, Measured, bounded, effect, pgd, trivial
from deepfake_unet.figures import draw_chart, draw_sheet
from deepfake_unet.training.protection import training_surrogates, two_sets, two_sources
from deepfake_unet.training.surrogates import (
    HELD_OUT_DECODER,
    HELD_OUT_SWAPPER,
    Faces,
    FeatureSurrogate,
    Surrogate,
    SwapSurrogate,
    load_autoencoder,
    load_swapper,
)


@dataclass(frozen=True)
class HeldOutFaces:
    """Real faces of the validation split.

    Attributes:
        images: Faces as the network sees them, uint8 [N, H, W, 3] RGB.
        decoders: For each face, the decoder of the set of faces that it does not belong to.
    """

    images: Images
    decoders: list[int]


def evaluate(
    data: Annotated[
        str,
        typer.Option(
            metavar="[LAYOUT:]PATH", help="Data that the model was trained on; dfbench list shows the layouts."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for protection.json, protection.png and sheet.png.")
    ],
    cache_dir: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Cache of faces and surrogates of the training run.")
    ],
    model: Annotated[
        str, typer.Option(metavar="PROTECTOR", help="Protector: a name, a model file or the folder of a package.")
    ] = "unet",
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DETECTOR",
            help="Detector whose features the model was not trained against; NAME?key=value takes its public weights.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=2, help="Largest number of faces.")] = 64,
    epsilon: Annotated[
        float | None,
        typer.Option(metavar="CHANGE", help="Bound of the perturbation in [0, 1]; by default the one of training."),
    ] = None,
    pgd_steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the reference attack, PGD.")] = 30,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Device that computes the networks.")] = "cpu",
) -> None:
    """Measure the effect of the protection on surrogates that it was trained against, and on others.

    Examples:
        python -m deepfake_unet.evaluate --data faces/ --cache-dir cache/ --out out/
    """
    where = torch.device(device)
    extractors = [
        feature_extractor(name).to(where) for name in features or ()
    ]  # missing extras are reported before the work begins
    loaded = load(model, device=device)
    recipe = recipe_of(loaded.manifest) or DEFAULT
    seed_everything(recipe.seed)
    training_data = training_data_of(loaded, data, cache_dir, where, fallback=DEFAULT)
    config = loaded.manifest.config
    margin = config["margin"]
    trained: list[Surrogate] = training_surrogates(training_data.training, recipe, cache_dir, where, margin)
    sets = two_sets(training_data.training, margin)
    held_out: list[Surrogate] = [*held_out_generators(sets, cache_dir, recipe, where), *extractors]
    faces = held_out_faces(training_data, count)
    bound = config["epsilon"] if epsilon is None else epsilon
    result, protected = measure(loaded, faces, trained, held_out, bound, where, pgd_steps)
    write_atomic(out / "protection.json", json.dumps(result, indent=2) + "\n")
    draw_chart(result, out / "protection.png")
    swapper = next(surrogate for surrogate in held_out if isinstance(surrogate, SwapSurrogate))
    draw_sheet(swapper, faces.images[:8], protected[:8], faces.decoders[:8], out / "sheet.png", where)
    typer.echo(f"wrote {out / 'protection.json'}")


def measure(
    loaded: LoadedDetector,
    faces: HeldOutFaces,
    trained: list[Surrogate],
    held_out: list[Surrogate],
    epsilon: float,
    device: torch.device,
    pgd_steps: int,
) -> tuple[dict[str, Any], Images]:
    """Measure all perturbations on all surrogates.

    Args:
        loaded: Protector.
        faces: Held-out faces.
        trained: Surrogates that the protector was trained against.
        held_out: Surrogates that it was not trained against.
        epsilon: Bound of the perturbations, in units of the pixel range [0, 1].
        device: Device of the surrogates.
        pgd_steps: Steps of the reference attack.

    Returns:
        All figures in plain values, and the protected faces uint8 [N, H, W, 3].
    """
    clean = faces.images
    protected = np.stack([protected_crop(loaded, crop, epsilon) for crop in clean])
    attacks = {"protector": protected, **trivial(clean, protected)}
    effects: list[Effect] = []
    for surrogate in (*trained, *held_out):
        own = {**attacks, "PGD": pgd(surrogate, clean, epsilon, device, pgd_steps)}
        effects += [
            effect(surrogate, attack, path, clean, changed, faces.decoders, device)
            for attack, changed in own.items()
            for path in PATHS
        ]
    result = {
        "model": f"{loaded.manifest.name} {loaded.manifest.version}",
        "weights": loaded.manifest.weights,
        "runtime": loaded.runtime.name,
        "epsilon": epsilon,
        "faces": len(clean),
        "pgd_steps": pgd_steps,
        "quality": {name: quality(clean, changed) for name, changed in attacks.items()},
        "trained_against": [surrogate.name for surrogate in trained],
        "held_out": [surrogate.name for surrogate in held_out],
        "effects": [asdict(found) for found in effects],
    }
    return result, protected


def protected_crop(loaded: LoadedDetector, crop: Images, epsilon: float) -> Images:
    """Return a face uint8 [H, H, 3] with everything that protection adds to it: perturbation and mark."""
    side = len(crop) / loaded.manifest.config["margin"]
    place = (len(crop) - side) / 2
    box = Box(place, place, side, side)
    change = change_of(load_protector(loaded), loaded, crop, [box], crop[None], epsilon)
    return bounded(crop, np.round(255 * change).astype(np.int16), epsilon)


def quality(clean: Images, changed: Images) -> dict[str, Any]:
    """Return PSNR in dB, SSIM and the largest change in levels of changed against clean faces uint8 [N, H, W, 3]."""
    pairs = list(zip(clean, changed, strict=True))
    return {
        "psnr_db": asdict(Measured.of(np.array([psnr(one, other) for one, other in pairs]))),
        "ssim": asdict(Measured.of(np.array([ssim(one, other) for one, other in pairs]))),
        "largest_change_levels": int(np.abs(changed.astype(np.int16) - clean.astype(np.int16)).max()),
    }


def held_out_faces(training_data: TrainingData, count: int) -> HeldOutFaces:
    """Return real faces of the validation split, spread evenly over the two sources that the face swappers know.

    Raises:
        DeepfakeError: There are no such faces.
    """
    names = two_sources(training_data.training)
    validation = training_data.validation
    real = validation.fake == 0
    known = np.isin(validation.family, names) if names else np.ones(len(real), bool)
    rows = np.flatnonzero(real & known)
    if not len(rows):
        raise DeepfakeError("the validation split holds no real faces of the sources that the face swappers know")
    rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    images = np.stack([np.asarray(validation.images[int(row) : int(row) + 1])[0] for row in rows])
    decoders = [0 if names and validation.family[row] == names[1] else 1 for row in rows]
    return HeldOutFaces(images, decoders)


def held_out_generators(sets: Faces, cache_dir: Path, recipe: TrainRecipe, device: torch.device) -> list[Surrogate]:
    """Return a face swapper and an autoencoder that the protector was not trained against."""
    steps = recipe.pairs.autoencoder_steps
    return [
        load_swapper(HELD_OUT_SWAPPER, sets, cache_dir, steps=steps, device=device, name="held-out swapper"),
        load_autoencoder(HELD_OUT_DECODER, sets, cache_dir, steps=steps, device=device, name="held-out autoencoder"),
    ]


def feature_extractor(name: str) -> FeatureSurrogate:
    """Return the features of a trained detector.

    Args:
        name: Name of the detector; ``NAME?key=value&…`` is a detector with these hyper-parameters and the public
            weights that its training starts from.

    Raises:
        WeightsUnavailable: There are no such weights.
    """
    plain, _, settings = name.partition("?")
    if not settings:
        return FeatureSurrogate(load(name, backend="torch", device="cpu"))
    config = dict(part.partition("=")[::2] for part in settings.split("&"))
    loaded = load(plain, untrained=True, device="cpu", config=config)
    try:
        loaded.detector.init_pretrained(loaded.network)
    except DeepfakeError as error:
        raise WeightsUnavailable(f"{name}: {error}") from error
    surrogate = FeatureSurrogate(loaded)
    surrogate.name = name
    return surrogate


if __name__ == "__main__":
    run(evaluate)
