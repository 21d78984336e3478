"""What this distribution offers."""

from deepfake_core import DetectorSpec, hookimpl


@hookimpl
def deepfake_detectors():
    """One detector, named here and imported on first use."""
    yield DetectorSpec(
        name="template",
        summary="four convolutions, to start from",
        detector="deepfake_template.detector:Template",
        install="deepfake-template[torch]",
    )
