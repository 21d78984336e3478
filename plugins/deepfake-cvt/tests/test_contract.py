"""The contract of every detector, for ``cvt`` on its smallest backbone."""

from deepfake_core.testing import DetectorContract


class TestCvt(DetectorContract):
    detector = "cvt"
    config = {"backbone": "cvt-test", "image_size": 64}
