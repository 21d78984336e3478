"""Runtimes: what executes a network."""
