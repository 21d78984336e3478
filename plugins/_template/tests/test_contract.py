from deepfake_core.testing import DetectorContract


class TestTemplate(DetectorContract):
    detector = "template"
