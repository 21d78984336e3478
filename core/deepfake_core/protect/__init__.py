"""Protect pictures of faces, attack detectors, and measure the change of a picture."""
