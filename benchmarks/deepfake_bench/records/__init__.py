"""The records that measurements are made of: datasets, jobs, predictions, documented targets and the report itself."""
