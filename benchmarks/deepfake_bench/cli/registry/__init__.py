"""Commands that publish models in a registry and maintain it."""
