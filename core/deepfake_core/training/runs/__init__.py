"""The folder of a run: its files and its lock, the record of all runs, trackers, and the commands that tidy up."""
