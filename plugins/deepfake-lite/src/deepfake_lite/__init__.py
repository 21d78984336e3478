"""The default detector: EfficientNet-Lite0 with an evidence map, trained on self-blended faces."""
