"""Recipes: by name, from YAML files and with ``key=value`` changes; their schedules, and search spaces over them."""
