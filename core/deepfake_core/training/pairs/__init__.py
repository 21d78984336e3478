"""Pairs of a real face and a fake that is made from it: faces, blends, reconstructions and the training set."""
