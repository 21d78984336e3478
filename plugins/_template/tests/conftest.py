from deepfake_core.testing import pytest_configure  # noqa: F401 - registers the markers of the contract
