"""One module for each file format, with its exporter."""
