"""Names of the folders of FaceForensics++ (Rössler et al. 2019, arXiv 1901.08971), as it is published and mirrored."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MANIPULATIONS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", "DeepFakeDetection")
"""Manipulations; the last is a dataset of its own that is distributed with the others."""

ORIGINALS = ("original", "original_sequences", "originals", "real", "youtube", "actors")
"""Folders of original videos."""

FOLDERS: Mapping[str, int] = MappingProxyType(
    {**dict.fromkeys(map(str.lower, MANIPULATIONS), 1), **dict.fromkeys(ORIGINALS, 0)}
)
"""Map from the name of a folder, in lower case, to 1 for fake or 0 for real."""
