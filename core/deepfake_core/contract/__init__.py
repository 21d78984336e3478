"""What the author of a plugin writes against: records, hooks, the detector, its recipes and losses."""
