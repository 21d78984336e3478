"""Training of detectors: recipes, data, the loop and the folders of runs."""

import os

# Albumentations asks the network for a newer release of itself when it is imported, unless this is set before.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
