"""Commands that export, compare exports and promote models."""
