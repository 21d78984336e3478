"""Tools over any :class:`~deepfake_core.datasets.Dataset`: check, manifest, split, leaks, statistics."""
