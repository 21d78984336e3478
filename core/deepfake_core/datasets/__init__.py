"""Datasets: labelled images and videos in any layout on disk, read as :class:`Sample` after :class:`Sample`."""

from deepfake_core.datasets.dataset import Dataset, Sample

__all__ = ["Dataset", "Sample"]
