"""Commands that check, describe, split, measure and prepare datasets."""
