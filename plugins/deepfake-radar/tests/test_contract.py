"""The contract of every detector, for ``radar`` in a small size, with its evidence map."""

from deepfake_core.testing import DetectorContract


class TestRadar(DetectorContract):
    detector = "radar"
    config = {"img_size": 64, "embed_dim": 48, "depth": 1, "num_heads": 3, "locate": 1.0}
