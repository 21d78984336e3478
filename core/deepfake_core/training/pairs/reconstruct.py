"""Pseudo-fakes that stand for fully synthetic faces: reconstructions of real faces by small autoencoders.

Generators of faces, adversarial or diffusion, end in a decoder that up-samples features to pixels, and the artefacts
of the decoder do not depend on what the image shows. A reconstruction has such artefacts and the content of a real
face, so that a detector can tell the two apart by the artefacts only. Several decoders with different up-sampling keep
the detector from learning the artefacts of a single one. No detector is trained on the reconstructions of
:func:`validation_decoders`, so that their score shows how the detection transfers to an unknown decoder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from deepfake_core.errors import InputError
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.data.stores import Rows, fingerprint, spread
from deepfake_core.training.pairs.autoencoder import Autoencoder, DecoderSpec, reconstruct, train_autoencoder
from deepfake_core.training.pairs.faces import Faces
from deepfake_registry.files import atomic_path

log = logging.getLogger("deepfake.training")

DECODERS: tuple[DecoderSpec, ...] = (
    DecoderSpec(factor=4, latent=12, upsampling="nearest"),
    DecoderSpec(factor=8, latent=48, upsampling="transposed"),
    DecoderSpec(factor=8, latent=32, upsampling="shuffle"),
    DecoderSpec(factor=4, latent=16, upsampling="bilinear"),
    DecoderSpec(factor=4, latent=10, upsampling="shuffle"),
    DecoderSpec(factor=8, latent=64, upsampling="bilinear"),
    DecoderSpec(factor=8, latent=40, upsampling="nearest"),
    DecoderSpec(factor=4, latent=12, upsampling="transposed"),
)
"""Autoencoders that make the reconstructions; a recipe takes the first of them."""

TRAINED_ON = 1024
"""Largest number of faces on which an autoencoder is trained: they are in memory."""

_BATCH = 16


def training_decoders(count: int) -> tuple[int, ...]:
    """Return the indices of those of ``count`` decoders on whose reconstructions detectors are trained."""
    return tuple(range(count - max(1, count // 4)))


def validation_decoders(count: int) -> tuple[int, ...]:
    """Return the indices of those of ``count`` decoders whose reconstructions are used for validation only."""
    return tuple(range(count - max(1, count // 4), count))


class Reconstructions:
    """Reconstructions of some faces, in files. They can be sent to other processes.

    Args:
        rows: Rows of the faces, ``intp [n]`` ascending.
        files: File with the reconstructions by each autoencoder, ``uint8 [n, S, S, 3]`` RGB.
    """

    def __init__(self, rows: Rows, files: Mapping[int, Path]) -> None:
        self.rows, self.files = rows, files
        self._arrays = {number: np.load(path, mmap_mode="r") for number, path in files.items()}

    def __reduce__(self) -> tuple[type[Reconstructions], tuple[Rows, Mapping[int, Path]]]:
        return Reconstructions, (self.rows, self.files)  # sent as they are, maps would be read whole

    def __call__(self, row: int, autoencoder: int) -> NDArray[np.uint8]:
        """Return the reconstruction of a row by an autoencoder, ``uint8 [S, S, 3]`` RGB."""
        return np.array(self._arrays[autoencoder][np.searchsorted(self.rows, row)])


@dataclass(frozen=True)
class Autoencoders:
    """Trained autoencoders of faces.

    Attributes:
        models: Autoencoders in evaluation mode, in the order of :data:`DECODERS`.
        keys: Key of each, which changes with everything that decides its weights.
        device: Device of the autoencoders.
    """

    models: Sequence[Autoencoder]
    keys: Sequence[str]
    device: torch.device

    @classmethod
    def load(
        cls, faces: Faces, rows: Rows, cache_dir: Path, *, count: int, steps: int, device: torch.device, seed: int
    ) -> Autoencoders:
        """Return the first ``count`` autoencoders of :data:`DECODERS`, which the first call trains.

        Args:
            faces: Faces of a store.
            rows: Rows of the real faces of the training split, of which at most :data:`TRAINED_ON` are taken.
            cache_dir: Folder in which the weights are kept.
            count: Number of autoencoders.
            steps: Training steps of each of them.
            device: Device on which to train, and on which the autoencoders are.
            seed: Seed of the first autoencoder; each following one has the next number.
        """
        rows = spread(np.sort(rows), TRAINED_ON)
        pixels: NDArray[np.uint8] | None = None
        models, keys = [], []
        for number, spec in enumerate(DECODERS[:count]):
            key = fingerprint(f"{spec!r} {steps} {seed + number} {faces.side} {faces.store.fingerprint}", rows)[:16]
            path = cache_dir / f"autoencoder-{key}.safetensors"
            if path.exists():
                model = Autoencoder(spec)
                model.load_state_dict(load_file(path))
                model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
            else:
                if pixels is None:
                    log.info("%d autoencoders are trained on %d real faces", count - number, len(rows))
                    pixels = _read(faces, rows)
                model = train_autoencoder(
                    spec, pixels, steps=steps, batch_size=_BATCH, seed=seed + number, device=device
                )
                with atomic_path(path) as temporary:
                    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
                    save_file(weights, temporary)
            models.append(model.requires_grad_(False))
            keys.append(key)
        return cls(models, keys, device)

    def reconstructions(
        self, faces: Faces, rows: Rows, decoders: Sequence[int], cache_dir: Path, *, most: int
    ) -> Reconstructions:
        """Return the reconstructions of faces by some of the autoencoders, which the first call makes.

        Args:
            faces: Faces of the store.
            rows: Rows of real faces, of which at most ``most`` are taken.
            decoders: Indices of the autoencoders.
            cache_dir: Folder in which the reconstructions are kept.
            most: Largest number of faces.
        """
        rows = spread(np.sort(rows), most)
        if not len(rows):
            return Reconstructions(rows, {})
        files = {
            number: cache_dir / f"reconstructed-{fingerprint(self.keys[number], rows)[:16]}.npy" for number in decoders
        }
        for number, path in files.items():
            if path.exists():
                continue
            with atomic_path(path) as temporary:
                shape = (len(rows), faces.side, faces.side, 3)
                out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
                starts = range(0, len(rows), _BATCH)
                for start in track(starts, f"reconstructing by autoencoder {DECODERS[number]}", unit="batches"):
                    batch = np.stack([_crop(faces, int(row)) for row in rows[start : start + _BATCH]])
                    out[start : start + _BATCH] = reconstruct(self.models[number], batch, self.device)
                out.flush()
                del out
        return Reconstructions(rows, files)


def _read(faces: Faces, rows: Rows) -> NDArray[np.uint8]:
    """Return the crops of rows, ``uint8 [n, S, S, 3]`` RGB."""
    pixels = np.empty((len(rows), faces.side, faces.side, 3), np.uint8)
    with closing(ordered_map(partial(_crop, faces), rows.tolist(), workers=allowed_threads())) as crops:
        for place, crop in enumerate(track(crops, "reading faces", total=len(rows), unit="faces")):
            pixels[place] = crop
    return pixels


def _crop(faces: Faces, row: int) -> NDArray[np.uint8]:
    """Return the crop of a row, ``uint8 [S, S, 3]`` RGB; a damaged one, whose pairs have no weight, is black."""
    try:
        return faces.pixels(row)
    except InputError as error:
        log.warning("%s", error)
        return np.zeros((faces.side, faces.side, 3), np.uint8)
