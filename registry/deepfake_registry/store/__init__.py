"""The content-addressed store of published models."""
