"""Preprocessing on the host: from files, bytes, arrays and videos to ``uint8 [N, H, W, 3]`` RGB crops.

``sources`` expands folders and patterns, ``decode`` reads images, ``video`` samples frames, ``faces`` finds faces,
``crop`` cuts and resizes, and ``prepare`` does all of this for one input. This package imports none of them, so that
listing detectors stays fast.
"""
