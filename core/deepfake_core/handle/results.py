"""Results of judging: plain frozen records, ready for JSON and pandas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from deepfake_core.errors import MissingExtra
from deepfake_core.handle.words import faces_in_words, shown_name, tally
from deepfake_core.inputs.boxes import Box

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Verdict = Literal["fake", "real", "unsure", "no_face", "error"]


@dataclass(frozen=True, slots=True)
class FrameResult:
    """Judgement of one face in one frame of a clip.

    Attributes:
        number: Number of the frame in the video, from 0; by the stated frame rate for a video file.
        time_s: Time at which the frame is shown, in seconds; ``None`` where the frames are pictures.
        box: Position of the face, in pixels of the frame; interpolated between two frames in which it was found.
        p_fake: Calibrated probability in [0, 1] of what was seen up to this frame; ``None`` where the network has no
            scores of frames (an output ``frame_logit`` [N, T]).
    """

    number: int
    time_s: float | None
    box: Box
    p_fake: float | None = None


@dataclass(frozen=True, slots=True)
class FaceResult:
    """Judgement of one face in a picture, or of one face that was followed through a clip.

    Attributes:
        box: Position of the face; for a clip, in its first frame; the whole picture where the detector uses no face
            finder.
        confidence: Score of the face finder in [0, 1].
        logit: Raw output of the network; positive = fake.
        p_fake: Calibrated probability in [0, 1].
        verdict: Verdict by the threshold and the band of the model; ``unsure`` for a protected face.
        time_s: Position in the video in seconds; for a clip, of its first frame; ``None`` for a picture.
        frames: Judgement of each frame of a clip; empty for a picture.
        evidence: ``float32 [h, w]`` in [0, 1]: where the crop looks manipulated; ``None`` where the network has no such
            output, or it was not asked for.
        extra: Further outputs of the network for this face, by name, as the manifest's outputs describe them; empty
            where evidence was not asked for.
        spread: Largest minus smallest P(fake) of the members of an ensemble; ``None`` for a single detector.
        crop: ``uint8 [H, W, 3]`` RGB, or a clip ``[T, H, W, 3]``, as the network saw it; ``None`` unless asked for.
        other_crops: The same face in the further cuts that the members of an ensemble take, ``uint8 [H, W, 3]`` RGB
            each; empty unless crops were asked for.
        protected: Whether the face carries the mark of protection: logit and probability then mean nothing.
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
    other_crops: tuple[NDArray[np.uint8], ...] = field(default=(), compare=False, repr=False)
    protected: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """Judgement of one input; as text, it is one line with the verdict, P(fake) and its scale.

    Attributes:
        source: Name of the input, as the user gave it.
        verdict: ``fake``, ``real``, ``unsure``, ``no_face`` or ``error``.
        p_fake: For a picture the maximum over its faces; for a video the mean over frames, or over clips, of the
            maximum over faces, without protected faces. ``None`` for ``no_face`` and ``error``, and where every face is
            protected: there is no made-up 0.5.
        faces: Judgement of each face, the most suspicious first and protected ones last.
        detector: Name and version of the model.
        weights: Status of its weights; scores of ``untrained`` weights mean nothing.
        width: Width of the picture as shown, in pixels; ``None`` where it could not be read.
        height: Height of the picture as shown, in pixels; ``None`` where it could not be read.
        mode: Pillow's name for the colour mode of the file, such as ``"RGB"`` or ``"CMYK"``.
        frames: Number of frames that were judged; 1 for a picture.
        error: Reason why there is no score; empty otherwise.
        warnings: What limits the judgement, one sentence each: parts of the input that were damaged, or left out.
        faces_left_out: Number of faces that were found and not judged, because of ``max_faces``; of a video, the sum
            over its frames or clips. The verdict is then never ``real``.
        logit: Logit whose calibrated probability is ``p_fake``: for a picture that of the face with the maximum, for a
            video the one that belongs to the mean. ``None`` where ``p_fake`` is.
        real_below: P(fake) below which this model says ``real``; ``None`` where the model is not known.
        fake_from: P(fake) from which on it says ``fake``; between the two it says ``unsure``.
        timings_ms: Time spent on this input, in milliseconds, by stage (``decode``, ``faces``, ``crop``,
            ``inference``).
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
    warnings: tuple[str, ...] = ()
    faces_left_out: int = 0
    logit: float | None = None
    real_below: float | None = None
    fake_from: float | None = None
    timings_ms: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def scale(self) -> str:
        """Which P(fake) gives which verdict, in words; empty where it is not known."""
        from deepfake_registry.manifest import scale_in_words

        if self.weights == "untrained":
            return "the weights are untrained, so scores mean nothing"
        if self.real_below is None or self.fake_from is None:
            return ""
        return scale_in_words(self.real_below, self.fake_from)

    def __str__(self) -> str:
        parts = [f"{shown_name(self.source)}: {self.verdict}"]
        if self.p_fake is not None:
            parts[0] += f", P(fake) {self.p_fake:.1%}" + (f" ({self.scale})" if self.scale else "")
        if self.faces:
            clips = len({place_of(face) for face in self.faces if face.frames})
            parts.append(faces_in_words(len(self.faces), self.frames, clips, scored=self.p_fake is not None))
        return "; ".join((*parts, *self.reasons))

    def __repr__(self) -> str:
        return f"<Result {self}>"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What limits the judgement, or why there is none: the error, and the warnings."""
        return tuple(filter(None, (self.error, *self.warnings)))

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """Return a copy that JSON can hold, with keys in the order of the attributes.

        Args:
            arrays: Whether to include ``evidence``, ``extra``, ``crop`` and ``other_crops`` of each face, as base64
                text. With them, :meth:`from_dict` gives back everything.
        """
        return {
            "source": self.source,
            "verdict": self.verdict,
            "p_fake": self.p_fake,
            "faces": [_face_to_dict(face, arrays) for face in self.faces],
            "detector": self.detector,
            "weights": self.weights,
            "width": self.width,
            "height": self.height,
            "mode": self.mode,
            "frames": self.frames,
            "error": self.error,
            "warnings": list(self.warnings),
            "faces_left_out": self.faces_left_out,
            "logit": self.logit,
            "real_below": self.real_below,
            "fake_from": self.fake_from,
            "timings_ms": dict(self.timings_ms),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Result:
        """Rebuild a result from what :meth:`to_dict` gave, also after a way through JSON.

        Raises:
            KeyError, TypeError, ValueError: The record is not one of a result.
        """
        faces = tuple(_face_from_dict(face) for face in record["faces"])
        return cls(**{**record, "faces": faces, "warnings": tuple(record.get("warnings", ()))})


class Results(list[Result]):
    """Results of several inputs, in their order; as text, a table of the first ones, their number, and the scale."""

    def __repr__(self) -> str:
        lines = [f"{'verdict':8} {'P(fake)':>7}  {'faces':>5}  source"] if self else []
        for result in self[:_MOST_SHOWN]:
            p_fake = "" if result.p_fake is None else f"{result.p_fake:.1%}"
            what = ": ".join(filter(None, (shown_name(result.source), "; ".join(result.reasons))))
            faces = "" if result.error else f"{len(result.faces):,}"
            lines.append(f"{result.verdict:8} {p_fake:>7}  {faces:>5}  {what}")
        if len(self) > _MOST_SHOWN:
            lines.append(f"… and {len(self) - _MOST_SHOWN:,} more")
        lines.append(tally(Counter(result.verdict for result in self), "input"))
        scales = dict.fromkeys((one.detector, one.scale) for one in self if one.p_fake is not None and one.scale)
        return "\n".join([*lines, *(f"{detector}: {scale}" for detector, scale in scales)])

    def to_pandas(self) -> pd.DataFrame:
        """Return one row for each input.

        The columns are ``source``, ``verdict``, ``p_fake``, ``logit``, ``faces`` (their number), ``x``, ``y``,
        ``box_width``, ``box_height`` (pixels), ``frames``, ``time_s``, ``detector``, ``weights``, ``error``,
        ``warnings``, joined by ``"; "``, ``faces_left_out``, ``real_below`` and ``fake_from``. Box and time are those
        of the most suspicious face, and empty where there is none.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise MissingExtra("Results.to_pandas", "pandas") from error
        return pd.DataFrame([to_row(result) for result in self], columns=list(COLUMNS))


COLUMNS = (
    "source", "verdict", "p_fake", "logit", "faces", "x", "y", "box_width", "box_height", "frames", "time_s",
    "detector", "weights", "error", "warnings", "faces_left_out", "real_below", "fake_from",
)  # fmt: skip
"""Columns of a table of results: those of :meth:`Results.to_pandas`, and of ``dfbench predict --format csv``."""
_MOST_SHOWN = 20


def to_row(result: Result) -> dict[str, Any]:
    """Return the cells of :data:`COLUMNS` for one result; box and time are missing where there is no face."""
    row: dict[str, Any] = {name: getattr(result, name) for name in COLUMNS if name in Result.__slots__}
    row |= {"faces": len(result.faces), "warnings": "; ".join(result.warnings)}
    if result.faces:
        face = result.faces[0]
        row |= {"time_s": face.time_s, "x": face.box.x, "y": face.box.y}
        row |= {"box_width": face.box.width, "box_height": face.box.height}
    return row


def place_of(face: FaceResult) -> tuple[float | None, int]:
    """Return what faces of the same picture, frame or clip have in common: a time, or the number of the first frame."""
    # The frames of a clip may come from pictures, which have a number but no time.
    return face.time_s, face.frames[0].number if face.frames else 0


def _face_to_dict(face: FaceResult, arrays: bool) -> dict[str, Any]:
    record = {
        "box": _corners(face.box),
        "confidence": face.confidence,
        "logit": face.logit,
        "p_fake": face.p_fake,
        "verdict": face.verdict,
        "time_s": face.time_s,
        "frames": [
            {"number": frame.number, "time_s": frame.time_s, "box": _corners(frame.box), "p_fake": frame.p_fake}
            for frame in face.frames
        ],
        "spread": face.spread,
        "protected": face.protected,
    }
    if arrays:
        record["evidence"] = _to_text(face.evidence)
        record["extra"] = {name: _to_text(array) for name, array in face.extra.items()}
        record["crop"] = _to_text(face.crop)
        record["other_crops"] = [_to_text(crop) for crop in face.other_crops]
    return record


def _face_from_dict(record: Mapping[str, Any]) -> FaceResult:
    frames = tuple(FrameResult(**{**frame, "box": Box(*frame["box"])}) for frame in record["frames"])
    arrays = {
        "evidence": _to_array(record.get("evidence")),
        "extra": {name: _to_array(text) for name, text in record.get("extra", {}).items()},
        "crop": _to_array(record.get("crop")),
        "other_crops": tuple(_to_array(text) for text in record.get("other_crops", ())),
    }
    return FaceResult(**{**record, **arrays, "box": Box(*record["box"]), "frames": frames})


def _corners(box: Box) -> list[float]:
    return [box.x, box.y, box.width, box.height]


def _to_text(array: NDArray[Any] | None) -> dict[str, Any] | None:
    import base64

    import numpy as np

    if array is None:
        return None
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "base64": data}


def _to_array(text: Mapping[str, Any] | None) -> NDArray[Any] | None:
    import base64

    import numpy as np

    if text is None:
        return None
    return np.frombuffer(base64.b64decode(text["base64"]), text["dtype"]).reshape(text["shape"]).copy()
