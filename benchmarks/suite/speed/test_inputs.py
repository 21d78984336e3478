"""Speed of the host half, stage by stage; run with ``pytest benchmarks/suite/speed --benchmark-only``."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from media import PORTRAIT, encoded

from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.prepare import Preparer
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize

SPEC = PreprocessSpec(
    resize=Resize(height=224, width=224), normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
)


@pytest.fixture(scope="module")
def scene():
    """A portrait of 1080 px in the middle of a 1920 × 1080 scene with a camera's noise, ``uint8 [1080, 1920, 3]``."""
    portrait = cv2.resize(decode(PORTRAIT).pixels, (1080, 1080), interpolation=cv2.INTER_CUBIC)
    scene = cv2.copyMakeBorder(portrait, 0, 0, 420, 420, cv2.BORDER_CONSTANT, value=(120, 120, 120)).astype(np.float32)
    scene += np.random.default_rng(0).normal(0, 3, scene.shape).astype(np.float32)
    return scene.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def jpeg(scene):
    """The scene as a file."""
    return encoded(scene, "JPEG", quality=90)


def test_decode_1080p_jpeg(benchmark, jpeg):
    """Decode at full scale."""
    assert benchmark(decode, jpeg).pixels.shape == (1080, 1920, 3)


def test_decode_12_megapixel_jpeg_reduced(benchmark, scene):
    """Decode the first look at a large picture."""
    data = encoded(cv2.resize(scene, (4000, 3000)), "JPEG", quality=90)
    assert benchmark(decode, data, min_side=1280).scale == 0.5


def test_find_faces_in_1080p(benchmark, scene):
    """Find the face, reduction included."""
    assert len(benchmark(FaceFinder().find, scene)) == 1


def test_crop_from_1080p(benchmark, scene):
    """Cut and resize one face."""
    (face,) = FaceFinder().find(scene)
    assert benchmark(prepare_crop, scene, face.box, SPEC).shape == (224, 224, 3)


def test_host_half_of_a_1080p_jpeg(benchmark, jpeg):
    """Everything before the network: the documented limit is 40 ms."""
    assert len(benchmark(Preparer(SPEC).prepare, jpeg).crops) == 1
