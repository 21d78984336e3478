"""A detector of my own."""
