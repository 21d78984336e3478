"""How a trained detector leaves: one uint8 graph per format, with its manifest inside and parity as a gate."""
