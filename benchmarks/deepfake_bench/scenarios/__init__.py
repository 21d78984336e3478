"""What can be measured: each scenario has one headline metric and a module of its own, imported on first use."""
