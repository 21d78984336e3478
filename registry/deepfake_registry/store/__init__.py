"""The registry: a content-addressed store of published models."""
