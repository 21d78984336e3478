"""The ``unet`` detector passes the contract, in a smaller size; its documented size is tested beside."""

import pytest

from deepfake_core.testing import DetectorContract

pytestmark = pytest.mark.torch


class TestUnet(DetectorContract):  # 002-1: train, export, run without torch
    detector = "unet"
    config = {"widths": [8, 12, 16], "image_size": 64}
