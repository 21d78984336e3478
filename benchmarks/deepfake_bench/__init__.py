"""How detectors are measured: scenarios, documented targets, reports, and the ``dfbench`` command."""
