"""Hash and size of the model file that is measured."""

from __future__ import annotations

import hashlib

from deepfake_core.handle.predictor import Predictor


def artefact_of(detector: Predictor) -> tuple[str, int | None]:
    """Return hex sha256 and size in bytes of the model file that runs; ``("", None)`` when there is none.

    An ensemble has several files: then it is the sha256 over their digests, and the sum of their sizes.
    """
    files = [(file.sha256, file.path.stat().st_size) for file in detector.artifacts]
    if not files:
        return "", None
    digests, sizes = zip(*files, strict=True)
    sha256 = digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return sha256, sum(sizes)
