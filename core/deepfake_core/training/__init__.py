"""Training: recipes, data and one loop."""
