"""The records of what this package offers."""

from deepfake_core import DetectorSpec, hookimpl


@hookimpl
def deepfake_detectors():
    """Yield the detector, whose class is named here and imported on first use."""
    yield DetectorSpec(
        name="template",
        summary="four convolutions, to start from",
        detector="deepfake_template.detector:Template",
        install="deepfake-template[torch]",
    )
