"""Shared by the tests of pairs: a face finder and a face mesh that find a face in every picture."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def same_face(monkeypatch):
    """Every picture that is not all black has a face in its middle; gives the list of the meshes that were found."""
    # Not at the top: where torch is missing, the tests are left out, but this file is read.
    from drawn_faces import shape

    from deepfake_core.data.crops import cutter, landmarks
    from deepfake_core.inputs.boxes import Box, Face

    meshes = []

    class Finder:
        def find(self, pixels):
            height, width = pixels.shape[:2]
            box = Box(0.3 * width, 0.25 * height, 0.4 * width, 0.5 * height)
            return [Face(box, 1.0, ((1.0, 1.0),) * 6)] if pixels.any() else []

    class Mesh:
        def find(self, pixels, face):
            box = face.box
            meshes.append(box)
            return (np.array([box.x, box.y]) + shape() * np.array([box.width, box.height])).astype(np.float32)

    monkeypatch.setattr(cutter, "FaceFinder", Finder)
    monkeypatch.setattr(landmarks, "FaceFinder", Finder)
    monkeypatch.setattr(landmarks, "FaceMesh", Mesh)
    monkeypatch.setattr(landmarks, "model_file", lambda: None)
    return meshes
