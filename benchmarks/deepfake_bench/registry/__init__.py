"""What the benchmark adds to the registry: promotion by targets, and its index page."""
