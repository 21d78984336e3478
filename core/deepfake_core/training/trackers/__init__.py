"""Trackers: where the curves of a run can be watched (TensorBoard, MLflow, Weights & Biases)."""
