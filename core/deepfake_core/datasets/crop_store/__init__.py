"""A store of face crops: read as a dataset or by position."""
