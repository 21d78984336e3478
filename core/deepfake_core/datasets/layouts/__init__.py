"""Published datasets and folder layouts."""
