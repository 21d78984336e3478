"""Pseudo-fakes that stand for fully synthetic faces: reconstructions of real faces by small autoencoders.

Generators of faces, adversarial or diffusion, end in a decoder that up-samples features to pixels, and the artefacts
of the decoder do not depend on what the image shows. A reconstruction has such artefacts and the content of a real
face, so that a detector can tell the two apart by the artefacts only. Several decoders with different up-sampling keep
the detector from learning the artefacts of a single one. No detector is trained on the reconstructions of
:data:`VALIDATION_DECODER`, so that their score shows how the detection transfers to an unknown decoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepfake_core.training.pairs.autoencoder import DecoderSpec, reconstruct, train_autoencoder
from deepfake_registry.files import atomic_path

DECODERS: tuple[DecoderSpec, ...] = (
    DecoderSpec(factor=4, latent=6, upsampling="nearest"),
    DecoderSpec(factor=8, latent=24, upsampling="transposed"),
    DecoderSpec(factor=4, latent=6, upsampling="shuffle"),
)
"""Autoencoders that make the reconstructions."""

VALIDATION_DECODER = len(DECODERS) - 1
"""Index of the decoder whose reconstructions are used for validation only."""


def load_reconstructions(
    pixels: NDArray[np.uint8],
    rows: Sequence[int] | NDArray[np.intp],
    train_rows: NDArray[np.intp],
    cache_dir: Path,
    *,
    steps: int,
    device: torch.device,
    seed: int = 0,
) -> list[NDArray[np.uint8]]:
    """Return the reconstructions of faces by each autoencoder of :data:`DECODERS`, which the first call makes.

    Other crops, rows or settings make other files.

    Args:
        pixels: Stored crops ``uint8 [N, S, S, 3]`` RGB, as an array or as the map of
            :func:`~deepfake_core.training.pairs.faces.load_crops`.
        rows: Rows of the real faces to reconstruct, ``intp [n]``.
        train_rows: Rows of the real faces of the training split, on which the autoencoders are trained, ``intp [m]``.
        cache_dir: Folder in which the reconstructions are kept.
        steps: Training steps of each autoencoder.
        device: Device on which to train and to compute.
        seed: Seed of the first autoencoder; each following one has the next number.

    Returns:
        One memory map ``uint8 [n, S, S, 3]`` RGB per autoencoder.
    """
    results = []
    # The name of the file of stored crops tells their content (see load_crops).
    stored = getattr(pixels, "filename", None)
    content = hashlib.sha256(np.asarray(pixels).tobytes() if stored is None else Path(stored).name.encode()).digest()
    reals = pixels[np.sort(train_rows)]
    for index, spec in enumerate(DECODERS):
        key = hashlib.sha256(f"{spec!r}{steps}{seed}{pixels.shape}".encode())
        key.update(np.asarray(rows).tobytes())
        key.update(np.asarray(train_rows).tobytes())
        key.update(content)
        path = cache_dir / f"reconstructed-{key.hexdigest()[:16]}.npy"
        if not path.exists():
            model = train_autoencoder(spec, reals, steps=steps, batch_size=16, seed=seed + index, device=device)
            with atomic_path(path) as temporary:
                shape = (len(rows), *pixels.shape[1:])
                out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
                for start in range(0, len(rows), 64):
                    out[start : start + 64] = reconstruct(model, pixels[rows[start : start + 64]], device)
                out.flush()
                del out
        results.append(np.load(path, mmap_mode="r"))
    return results


def training_decoders(count: int) -> tuple[int, ...]:
    """Return the indices of ``count`` decoders without the one that is kept for validation."""
    return tuple(index for index in range(count) if index != VALIDATION_DECODER)
