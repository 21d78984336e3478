"""A loaded detector, its results and how raw scores become verdicts."""
