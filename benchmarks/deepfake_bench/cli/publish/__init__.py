"""Commands that export, register and promote models."""
