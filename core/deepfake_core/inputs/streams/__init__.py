"""Moving pictures: video files (``container``) and animated image files (``animation``), read by time.

``moving`` holds what both share, ``clock`` lays time stamps that restart or are missing end to end, and ``shape`` says
how a stored frame is shown. :mod:`deepfake_core.inputs.video` samples frames and clips from them.
"""
