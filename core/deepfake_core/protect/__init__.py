"""Protect pictures of faces, attack detectors, and measure how much a picture changed."""
