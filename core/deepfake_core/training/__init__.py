"""Training of detectors: recipes, data, the loop and the folders of runs."""
