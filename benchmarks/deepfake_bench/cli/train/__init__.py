"""Commands that train, search and manage data and runs."""
