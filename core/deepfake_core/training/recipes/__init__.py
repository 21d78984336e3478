"""Recipes by name, by file and with overrides; search spaces over them."""
