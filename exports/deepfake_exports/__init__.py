"""Export trained detectors: one graph from uint8 images to logits per format, with the manifest inside.

A file is written only once it has been shown to agree with the torch network (:mod:`deepfake_exports.parity`).
"""
