"""Several detectors as one."""
