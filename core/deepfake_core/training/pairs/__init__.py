"""Pairs of a real face and a fake made from it."""
