"""Pairs made on a device, whole chunks at a time: the same operations as on the host, as kernels of torch."""
