"""Training and validation samples of labelled pictures and clips, their augmentation, and batches."""
