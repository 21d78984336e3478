"""Commands that list, compare, clean up and archive training runs."""
