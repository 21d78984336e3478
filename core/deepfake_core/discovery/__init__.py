"""Find plugins and model files: entry points, packages, the registry, the Hugging Face cache."""
