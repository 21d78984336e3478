"""The training loop: optimiser, steps, checkpoints."""
