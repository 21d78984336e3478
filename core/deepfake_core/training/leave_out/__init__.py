"""Leave out one source at a time: train without it, and measure what a recipe makes of a source it has not seen."""
