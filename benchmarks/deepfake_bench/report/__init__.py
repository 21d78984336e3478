"""Reports: reading, comparing, ranking, drawing."""
