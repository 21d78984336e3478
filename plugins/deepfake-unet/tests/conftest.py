import pytest

import deepfake_core

SMALL = {"widths": [8, 16], "image_size": 64}


@pytest.fixture(scope="session")
def detector():
    """A small network with random weights, in torch."""
    pytest.importorskip("torch")
    return deepfake_core.load("unet", untrained=True, device="cpu", config=SMALL)
