"""Ensembles: several detectors that give one score together."""
