"""Commands that train, search, combine detectors and manage runs."""
