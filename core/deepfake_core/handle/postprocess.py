"""Turn the raw outputs of a network into a result: calibration, verdict, and the score of several faces or frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_core.handle.results import FaceResult, FrameResult, Result, Verdict, place_of
from deepfake_core.runtimes.base import Outputs, sigmoid
from deepfake_registry.manifest import Calibration, ModelManifest

if TYPE_CHECKING:
    from deepfake_core.inputs.boxes import FrameBox
    from deepfake_core.inputs.prepare import Prepared


FRAME_LOGIT = "frame_logit"
"""Name of an extra output ``float32 [N, T]``: the logit after each frame of a clip."""


def to_result(
    prepared: Prepared,
    outputs: Outputs,
    manifest: ModelManifest,
    *,
    inference_ms: float = 0.0,
    evidence: bool = False,
    keep_crops: bool = False,
) -> Result:
    """Compute the result for one input from the outputs of the network.

    The score of a picture is the highest score of its faces. For a video, the highest score of each frame or clip is
    taken, and the score of the video is their mean; frames and clips without a face are left out. The logit of a
    picture is that of its highest face, and the logit of a video the one that has this mean as its P(fake).

    Where faces were left out by a limit, the verdict is ``unsure`` rather than ``real``: one of them may be fake.

    A face that carries the mark of protection has the verdict ``unsure`` and no part in the score. The verdict of such
    an input is ``fake`` where its other faces have that verdict, and ``unsure`` otherwise.

    Args:
        prepared: Prepared input with its n crops.
        outputs: Outputs of the network for these n crops.
        manifest: Manifest of the model that gave the outputs.
        inference_ms: This input's share of the time that the network took for its batch, in milliseconds.
        evidence: Whether to keep the evidence map of each face, and the further outputs of the network.
        keep_crops: Whether to keep the crop of each face.
    """
    error = prepared.error
    if not error and not np.isfinite(outputs.logit).all():
        error = f"the model {manifest.name!r} gave a score that is not a number; its file may be damaged"
    faces = () if error else _faces(prepared, outputs, manifest.calibration, evidence, keep_crops)
    p_fake, logit = _file_score(faces, manifest.calibration)
    verdict: Verdict = manifest.calibration.verdict(p_fake) if p_fake is not None else "no_face"
    if prepared.faces_left_out and verdict == "real":
        verdict = "unsure"
    warnings = prepared.warnings
    if not error and (hidden := sum(face.protected for face in faces)):
        verdict = "fake" if verdict == "fake" else "unsure"
        warnings += (_protected(hidden, len(faces)),)
    return Result(
        source=prepared.source,
        verdict="error" if error else verdict,
        p_fake=p_fake,
        faces=tuple(sorted(faces, key=lambda face: (face.protected, -face.p_fake))),
        detector=f"{manifest.name} {manifest.version}",
        weights=manifest.weights,
        width=prepared.width,
        height=prepared.height,
        mode=prepared.mode,
        frames=prepared.frames,
        faces_left_out=prepared.faces_left_out,
        error=error,
        warnings=warnings,
        logit=logit,
        real_below=manifest.calibration.unsure_low,
        fake_from=manifest.calibration.unsure_high,
        timings_ms={**prepared.timings_ms, "inference": inference_ms},
    )


def _protected(hidden: int, count: int) -> str:
    which = "the face carries" if count == 1 else f"{hidden} of {count} faces carry"
    return f"protected: {which} the mark of dfbench protect and cannot be judged"


def _file_score(faces: tuple[FaceResult, ...], calibration: Calibration) -> tuple[float, float] | tuple[None, None]:
    """Compute P(fake) of a file, the mean over frames or clips of the maximum over faces, and the logit that has it.

    Faces that carry the mark of protection are left out; without any other face there is neither.
    """
    highest: dict[tuple[float | None, int], FaceResult] = {}
    for face in faces:
        place = place_of(face)
        if not face.protected and (place not in highest or face.p_fake > highest[place].p_fake):
            highest[place] = face
    if not highest:
        return None, None
    if len(highest) == 1:
        (face,) = highest.values()
        return face.p_fake, face.logit
    # The odds are computed from logarithms of P(fake) and of P(real), either of which may round to 0.
    z = np.clip([face.logit / calibration.temperature + calibration.bias for face in highest.values()], -1e6, 1e6)
    odds = np.logaddexp.reduce(-np.logaddexp(0.0, -z)) - np.logaddexp.reduce(-np.logaddexp(0.0, z))
    mean = math.fsum(face.p_fake for face in highest.values()) / len(highest)
    return mean, float((odds - calibration.bias) * calibration.temperature)


def _frames(
    track: tuple[FrameBox, ...], logits: NDArray[np.float32] | None, index: int, calibration: Calibration
) -> tuple[FrameResult, ...]:
    """Return the frames of a track with their scores.

    A track that is shorter than the clip was filled up by repeating its last frame, whose score is the one after the
    last repetition.
    """
    own: list[float | None] = [None] * len(track)
    if logits is not None and track:
        own = [calibration.p_fake(float(logit)) for logit in (*logits[index][: len(track) - 1], logits[index][-1])]
    return tuple(
        FrameResult(frame.number, frame.time_s, frame.box, p_fake) for frame, p_fake in zip(track, own, strict=True)
    )


def _faces(
    prepared: Prepared, outputs: Outputs, calibration: Calibration, evidence: bool, keep_crops: bool
) -> tuple[FaceResult, ...]:
    maps = outputs.evidence if evidence else None
    extra = outputs.extra if evidence else {}
    results = []
    tracks = prepared.tracks or ((),) * len(prepared.faces)
    protected = prepared.protected or (False,) * len(prepared.faces)
    for index, (face, time_s, track) in enumerate(zip(prepared.faces, prepared.times_s, tracks, strict=True)):
        logit = float(outputs.logit[index])
        p_fake = calibration.p_fake(logit)
        results.append(
            FaceResult(
                box=face.box,
                confidence=face.confidence,
                logit=logit,
                p_fake=p_fake,
                verdict="unsure" if protected[index] else calibration.verdict(p_fake),
                protected=protected[index],
                time_s=time_s,
                frames=_frames(track, outputs.extra.get(FRAME_LOGIT), index, calibration),
                evidence=None if maps is None else sigmoid(maps[index]),
                extra={name: values[index] for name, values in extra.items()},
                crop=prepared.crops[index] if keep_crops else None,
                other_crops=tuple(cut[index] for cut in prepared.others) if keep_crops else (),
            )
        )
    return tuple(results)
