"""A complete plugin that is small enough for tests: network, packaged weights, evidence map."""
