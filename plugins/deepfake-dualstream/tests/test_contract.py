"""The contract of every detector, for a small ``dualstream``; its full size is in ``test_network.py``."""

from deepfake_core.testing import DetectorContract


class TestDualStream(DetectorContract):  # C-4
    detector = "dualstream"
    config = {
        "high_backbone": "b0",
        "low_backbone": "b0",
        "frames": 3,
        "stride": 1,
        "size": 64,
        "low_size": 32,
        "projection": 16,
        "filters": [16, 8],
        "embedding": 16,
        "hidden": [16, 8],
    }
