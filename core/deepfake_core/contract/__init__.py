"""The contract of a plugin: everything that its author writes against. It depends on nothing above it.

Authors import these names from :mod:`deepfake_core` itself; the modules are

* ``specs``: the records by which a plugin says what it offers; ``hookspecs``: the hooks that yield them.
* ``detector``: :class:`Detector`, the class that an architecture is, and the preprocessing inside of exported graphs.
* ``recipe``: training recipes as data.
* ``training_set``: the samples that the training loop takes.
* ``losses``: terms that losses are composed of.
* ``repository``: files that others published, from which a detector reads their weights.

The tests that a detector must pass are in :mod:`deepfake_core.testing`.
"""
