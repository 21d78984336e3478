"""A detector of videos: two EfficientNets at two resolutions, ConvLSTMs over their features, one score per frame."""
