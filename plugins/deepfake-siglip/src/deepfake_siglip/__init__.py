"""The detector ``siglip``: SigLIP image classifiers from the Hugging Face Hub."""
