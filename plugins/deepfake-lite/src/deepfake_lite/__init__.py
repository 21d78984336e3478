"""The default detector: EfficientNet-Lite0 with a manipulation map, trained on self-blended faces."""
