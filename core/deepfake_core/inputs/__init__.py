"""From files, bytes, arrays and videos to ``uint8 [N, H, W, 3]`` RGB crops: the one host half of preprocessing.

``decode`` reads pictures, ``video`` samples frames, ``faces`` finds faces, ``crop`` cuts and resizes, ``sources``
expands folders and patterns, and ``prepare`` does it all for one input. Nothing is imported here, so that
listing detectors stays light.
"""
