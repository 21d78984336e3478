"""Measure detectors: metrics, significance, calibration, and the evaluation of a labelled dataset."""
