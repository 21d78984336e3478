"""CvT-13 with a two-logit head, fine-tuned in two phases."""
