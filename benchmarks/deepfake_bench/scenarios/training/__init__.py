"""The scenario that measures training: its steps, the parts of a step, and the faces that it trains on."""
