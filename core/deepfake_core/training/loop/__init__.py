"""The training loop and its parts: accelerator, optimiser, steps, checkpoints."""
