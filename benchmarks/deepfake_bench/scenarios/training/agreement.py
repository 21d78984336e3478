"""Whether a device makes the pairs that the host makes of the same draws: kernels of a GPU are tested nowhere else."""

from __future__ import annotations

import numpy as np

from deepfake_core.training.pairs.device.apply import device_pairs
from deepfake_core.training.pairs.device.feed import DevicePairs
from deepfake_core.training.pairs.host import host_pairs

CHUNKS, PAIRS = 4, 2
"""Chunks of each family, and pairs of each chunk."""


def pairs_difference(feed: DevicePairs, chunks: int = CHUNKS) -> float:
    """Return the mean difference between pictures of device and host in grey levels, of the family that differs most.

    Reconstructions, which are the device's own, are left out.
    """
    planner = feed.planner
    means = []
    for family in planner.shares:
        differences = []
        for number in range(chunks):
            chunk = planner.draw(np.random.default_rng(number), PAIRS, family)
            if chunk.autoencoder is None:
                images, _ = device_pairs(chunk, feed.crops)
                wanted, _ = host_pairs(chunk, planner.source.faces)
                differences.append(float(np.abs(images.cpu().numpy() - wanted.astype(np.float64)).mean()))
        means += [float(np.mean(differences))] if differences else []
    return max(means, default=0.0)
