"""Make contact sheets of training pairs: the real face, the fake, the mask over the fake, and their difference × 4.

Run from the repository root on a store with landmarks::

    dfbench data prepare my-pictures/ --out faces/ --landmarks
    python benchmarks/pictures/make_pairs_sheet.py faces/ --out sheet.png

There is one sheet of 40 pairs for each family: ``sheet-self_blend.png`` and so on. With ``--device cuda`` (or ``cpu``),
the same pairs are made by the code for devices. ``--plain`` leaves out the degradation, which hides how well a blend is
made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.training.pairs.autoencoder import Autoencoder, reconstruct, train_autoencoder
from deepfake_core.training.pairs.device.apply import device_pairs
from deepfake_core.training.pairs.device.crops import crops_on
from deepfake_core.training.pairs.draws import Chunk
from deepfake_core.training.pairs.faces import Faces
from deepfake_core.training.pairs.host import host_pairs
from deepfake_core.training.pairs.pairs import as_at_inference
from deepfake_core.training.pairs.planner import EQUAL, PairSource, Planner
from deepfake_core.training.pairs.reconstruct import DECODERS

COLUMNS = 4
CELLS = 28

Pixels = NDArray[np.uint8]
Maker = Callable[[Chunk], tuple[Pixels, NDArray[np.float32]]]


def main() -> None:
    """Make the sheets that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="crop store with landmarks")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"), help="name of the pictures, before the family")
    parser.add_argument("--device", help="make the pairs on this device of torch; by default on the host")
    parser.add_argument("--pairs", type=int, default=40, help="pairs of each family")
    parser.add_argument("--size", type=int, default=160, help="side of a picture in pixels")
    parser.add_argument("--steps", type=int, default=200, help="training steps of each of two autoencoders; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pairs")
    parser.add_argument("--chunk", type=int, default=1, help="pairs that are drawn together; a divisor of --pairs")
    parser.add_argument("--mix", type=float, default=0.0, help="share of labelled fakes with a part of their real face")
    parser.add_argument("--plain", action="store_true", help="do not degrade the pairs")
    args = parser.parse_args()

    faces = Faces(CropStore(args.store))
    real = np.flatnonzero((faces.fake[:] == 0) & faces.usable)
    device = torch.device(args.device or "cpu")
    models = autoencoders(faces, real, args.steps, device) if args.steps else []
    source = PairSource(faces, np.arange(len(faces)), tuple(range(len(models))))
    pairs = EQUAL.model_copy(update={"mix": args.mix})
    planner = Planner(source, pairs, size=args.size, margin=1.3, cells=CELLS)
    make = maker(faces, models, device, host=args.device is None)
    for family in planner.families():
        rows = []
        for first in range(0, args.pairs, args.chunk):
            rng = np.random.default_rng([args.seed, first])
            draw = as_at_inference if args.plain else Planner.draw
            images, masks = make(draw(planner, rng, args.chunk, family))
            rows += [shown(*pair) for pair in zip(images[: args.chunk], images[args.chunk :], masks, strict=True)]
        blank = np.full_like(rows[0], 255)
        rows += [blank] * (-len(rows) % COLUMNS)
        sheet = np.vstack([np.hstack(rows[first : first + COLUMNS]) for first in range(0, len(rows), COLUMNS)])
        path = args.out.with_stem(f"{args.out.stem}-{family}")
        cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        sys.stdout.write(f"{path}\n")


def autoencoders(faces: Faces, real: NDArray[np.intp], steps: int, device: torch.device) -> list[Autoencoder]:
    """Train two autoencoders on at most 256 real faces."""
    rows = real[np.linspace(0, len(real) - 1, min(256, len(real))).astype(int)]
    pixels = np.stack([faces.pixels(int(row)) for row in rows])
    return [
        train_autoencoder(spec, pixels, steps=steps, batch_size=16, seed=seed, device=device)
        for seed, spec in enumerate(DECODERS[:2])
    ]


def maker(faces: Faces, models: list[Autoencoder], device: torch.device, *, host: bool) -> Maker:
    """Return the function that makes the pictures of a chunk on the host, or on a device of torch."""
    if host:

        def reconstructed(row: int, autoencoder: int) -> Pixels:
            return np.asarray(reconstruct(models[autoencoder], faces.pixels(row)[None], device)[0])

        return lambda chunk: host_pairs(chunk, faces, reconstructed)

    crops = crops_on(faces, np.arange(len(faces)), device, "streamed")

    def on_device(chunk: Chunk) -> tuple[Pixels, NDArray[np.float32]]:
        images, masks = device_pairs(chunk, crops, models)
        return images.cpu().numpy(), masks.cpu().numpy()

    return on_device


def shown(real: Pixels, fake: Pixels, mask: NDArray[np.float32]) -> Pixels:
    """Return the four pictures of a pair beside each other, ``uint8 [S, 4·S + 4, 3]`` RGB."""
    weight = cv2.resize(np.nan_to_num(mask), fake.shape[:2], interpolation=cv2.INTER_LINEAR)[..., None]
    overlay = fake * (1 - 0.5 * weight) + np.array([0, 255, 0]) * 0.5 * weight
    difference = np.clip(128 + 4 * (fake.astype(np.float32) - real), 0, 255)
    row = np.hstack([real, fake, overlay.astype(np.uint8), difference.astype(np.uint8)])
    return np.pad(row, ((0, 4), (0, 4), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
