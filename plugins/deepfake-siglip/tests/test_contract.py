"""The contract of every detector, for a small ``siglip``."""

import pytest

from deepfake_core.testing import DetectorContract

pytestmark = pytest.mark.torch


class TestSiglip(DetectorContract):
    detector = "siglip"
    config = {"image_size": 64, "hidden": 32, "intermediate": 64, "layers": 2, "heads": 4}
