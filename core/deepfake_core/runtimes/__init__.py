"""Runtimes: the libraries that execute a network, and the choice between them."""
