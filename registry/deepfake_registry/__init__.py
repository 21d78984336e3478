"""Published models: their manifest, their files, the registry that stores them, and all errors of the project."""
