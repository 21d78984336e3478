"""What a detector answers: plain frozen records, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Verdict = Literal["fake", "real", "unsure", "no_face", "error"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the picture as shown (after its EXIF turn); origin at the top left."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Face:
    """A face found in a picture.

    Attributes:
        box: Where it is.
        confidence: The face finder's own score in [0, 1].
        landmarks: Right eye, left eye, nose tip, right and left mouth corner (as the *person* has them), each
            ``(x, y)`` in pixels; empty when the finder gives none.
    """

    box: Box
    confidence: float
    landmarks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The judgement of one face.

    Attributes:
        box: Where the face is; the whole picture when the detector uses no face finder.
        confidence: The face finder's score in [0, 1].
        logit: Raw output of the network; positive = fake.
        p_fake: Calibrated probability in [0, 1].
        verdict: What the shipped threshold makes of it.
        time_s: Position in the video in seconds; ``None`` for a picture.
        evidence: ``float32 [h, w]`` in [0, 1]: where the crop looks manipulated; ``None`` when the network has
            no such output or it was not asked for.
        extra: What else the network returned for this face, by name, as the manifest's outputs describe it; empty
            when evidence was not asked for.
        spread: Of an ensemble: the largest P(fake) of its members less the smallest; ``None`` otherwise.
        crop: ``uint8 [H, W, 3]`` RGB, exactly what the network saw; only kept when asked for.
    """

    box: Box
    confidence: float
    logit: float
    p_fake: float
    verdict: Literal["fake", "real", "unsure"]
    time_s: float | None = None
    evidence: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    extra: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, compare=False, repr=False)
    spread: float | None = None
    crop: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """The judgement of one input.

    Attributes:
        source: The input as the user named it.
        verdict: ``fake``, ``real``, ``unsure``, ``no_face`` or ``error``.
        p_fake: For a picture the maximum over its faces; for a video see ``DESIGN``: the mean over frames of
            the maximum over faces. ``None`` for ``no_face`` and ``error``: there is no made-up 0.5.
        faces: The faces, most suspicious first.
        detector: Name and version of the model that judged.
        weights: Status of its weights; ``untrained`` scores mean nothing.
        width, height: Of the picture as shown, in pixels; ``None`` when it could not be read.
        mode: Pillow's name for the file's own colour mode, such as ``"RGB"`` or ``"CMYK"``.
        frames: Frames judged; 1 for a picture.
        error: Why there is no score; empty otherwise.
        timings_ms: Milliseconds spent on this input, by stage (``decode``, ``faces``, ``crop``, ``inference``).
    """

    source: str
    verdict: Verdict
    p_fake: float | None
    faces: tuple[FaceResult, ...]
    detector: str
    weights: str
    width: int | None = None
    height: int | None = None
    mode: str = ""
    frames: int = 1
    error: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy without pixel data; keys in the order of the attributes."""
        return {
            "source": self.source,
            "verdict": self.verdict,
            "p_fake": self.p_fake,
            "faces": [
                {
                    "box": [face.box.x, face.box.y, face.box.width, face.box.height],
                    "confidence": face.confidence,
                    "logit": face.logit,
                    "p_fake": face.p_fake,
                    "verdict": face.verdict,
                    "time_s": face.time_s,
                    "spread": face.spread,
                }
                for face in self.faces
            ],
            "detector": self.detector,
            "weights": self.weights,
            "width": self.width,
            "height": self.height,
            "mode": self.mode,
            "frames": self.frames,
            "error": self.error,
            "timings_ms": {stage: round(value, 3) for stage, value in self.timings_ms.items()},
        }
