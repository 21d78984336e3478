"""``load``: from a name or a file to a detector that is ready to judge."""
