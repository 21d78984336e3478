"""What a detector answers: plain frozen records, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from deepfake_core.inputs.boxes import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Verdict = Literal["fake", "real", "unsure", "no_face", "error"]


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The judgement of one face in one frame of a clip.

    Attributes:
        number: The frame's number in the video, from 0; by the stated frame rate for a video file.
        time_s: When it is shown, in seconds; ``None`` where the frames are pictures.
        box: Where the face is, in pixels of the frame; between two frames where it was found, in the middle.
        p_fake: Calibrated probability in [0, 1] of what was seen up to this frame; ``None`` where the network has no
            scores of frames (an output ``frame_logit`` [N, T]).
    """

    number: int
    time_s: float | None
    box: Box
    p_fake: float | None = None


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The judgement of one face in a picture, or followed through a clip.

    Attributes:
        box: Where the face is, in a clip in its first frame; the whole picture when the detector uses no face finder.
        confidence: The face finder's score in [0, 1].
        logit: Raw output of the network; positive = fake.
        p_fake: Calibrated probability in [0, 1].
        verdict: What the shipped threshold makes of it.
        time_s: Position in the video in seconds, of a clip that of its first frame; ``None`` for a picture.
        frames: For a detector of clips, each frame of the clip.
        evidence: ``float32 [h, w]`` in [0, 1]: where the crop looks manipulated; ``None`` when the network has
            no such output or it was not asked for.
        extra: What else the network returned for this face, by name, as the manifest's outputs describe it; empty
            when evidence was not asked for.
        spread: Of an ensemble: the largest P(fake) of its members less the smallest; ``None`` otherwise.
        crop: ``uint8 [H, W, 3]`` RGB, a clip's ``[T, H, W, 3]``, exactly what the network saw; only kept when asked
            for.
    """

    box: Box
    confidence: float
    logit: float
    p_fake: float
    verdict: Literal["fake", "real", "unsure"]
    time_s: float | None = None
    frames: tuple[FrameResult, ...] = ()
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
        p_fake: For a picture the maximum over its faces; for a video the mean over frames, or over clips, of the
            maximum over faces. ``None`` for ``no_face`` and ``error``: there is no made-up 0.5.
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
                    "box": _corners(face.box),
                    "confidence": face.confidence,
                    "logit": face.logit,
                    "p_fake": face.p_fake,
                    "verdict": face.verdict,
                    "time_s": face.time_s,
                    "frames": [
                        {"number": one.number, "time_s": one.time_s, "box": _corners(one.box), "p_fake": one.p_fake}
                        for one in face.frames
                    ],
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


def _corners(box: Box) -> list[float]:
    return [box.x, box.y, box.width, box.height]
