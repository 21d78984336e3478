"""Make a store of face crops."""
