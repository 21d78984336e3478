"""The contract of every detector, for ``lite``."""

from deepfake_core.testing import DetectorContract


class TestLite(DetectorContract):
    detector = "lite"
