"""Additions to the registry: promotion by targets, and its index page."""
