"""Commands that measure detectors and read reports."""
