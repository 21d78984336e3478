"""Run directories: files, records, trackers, clean-up."""
