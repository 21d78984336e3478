from __future__ import annotations

import pytest

from deepfake_core.testing import DetectorContract


@pytest.mark.usefixtures("tiny")
class TestTiny(DetectorContract):
    detector = "tiny"
