"""Scenarios that measure time."""
