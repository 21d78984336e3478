"""From datasets to training and validation samples."""
