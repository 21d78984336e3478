"""Output, options and exit statuses that the commands share."""
