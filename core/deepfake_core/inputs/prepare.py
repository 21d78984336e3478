"""The whole host half for one input: decode, find faces, cut and resize. Never raises for a bad input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from deepfake_core.errors import DeepfakeError, InputError
from deepfake_core.inputs.boxes import Box, Face, FrameBox
from deepfake_core.inputs.crop import crop_side, prepare_crop, scale_box
from deepfake_core.inputs.decode import MAX_PIXELS, Picture, decode, is_video, name_of
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.sources import Frames, Source
from deepfake_core.inputs.tracks import Track, follow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_core.inputs.sources import Picture as PictureSource
    from deepfake_core.inputs.sources import Single
    from deepfake_core.inputs.video import Frame
    from deepfake_registry.manifest import Clip, PreprocessSpec

T = TypeVar("T")

# A large JPEG is first decoded at a reduced scale with at least this longer side: twice what the face finder looks
# at, so that most faces can be cut from it as well.
_FIRST_LOOK_SIDE = 1280
# A crop is cut from a reduced decode only when it has at least this many times the network's input.
_ENOUGH = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One input, ready for a network.

    Attributes:
        source: The input as the user named it.
        width, height: Of the picture or the video's frames as shown, in pixels; ``None`` when nothing was decoded.
        mode: Pillow's name for the file's colour mode; ``"video"`` for a video.
        crops: ``uint8 [n, H, W, 3]`` RGB, one for each face; clips ``[n, T, H, W, 3]``, one for each track.
        faces: The face of each crop, in pixels of the full picture or frame; of a clip, of its first frame.
        times_s: For each crop, when its (first) frame is shown, in seconds; ``None`` for a picture.
        frames: Pictures looked at: 1, or the frames sampled from a video; 0 when nothing was decoded.
        error: Why there is nothing to judge; empty otherwise. No face is not an error.
        timings_ms: Milliseconds spent on ``decode``, ``faces`` and ``crop``.
        others: The same faces cut for further detectors, ``uint8 [n, H, W, 3]`` RGB each.
        tracks: For each clip, where the face is in its frames, which are fewer than T where the video is shorter; empty
            for pictures.
    """

    source: str
    width: int | None
    height: int | None
    mode: str
    crops: NDArray[np.uint8]
    faces: tuple[Face, ...]
    times_s: tuple[float | None, ...]
    frames: int
    error: str
    timings_ms: dict[str, float]
    others: tuple[NDArray[np.uint8], ...] = ()
    tracks: tuple[tuple[FrameBox, ...], ...] = ()


@dataclass(slots=True)
class _Work:
    """What one input has yielded so far."""

    source: str
    width: int | None = None
    height: int | None = None
    mode: str = ""
    crops: list[tuple[NDArray[np.uint8], ...]] = field(default_factory=list)  # of each face, one for each detector
    faces: list[Face] = field(default_factory=list)
    times_s: list[float | None] = field(default_factory=list)
    tracks: list[tuple[FrameBox, ...]] = field(default_factory=list)
    frames: int = 0
    timings_ms: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "faces": 0.0, "crop": 0.0})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.timings_ms[stage] += (perf_counter() - start) * 1e3

    def decoded(self, samples: Iterator[T]) -> Iterator[T]:
        """The same, with the time that they take as ``decode``."""
        while True:
            with self.timed("decode"):
                sample = next(samples, None)
            if sample is None:
                return
            yield sample


class Preparer:
    """Turns inputs into crops as a :class:`PreprocessSpec` says; safe to share between threads.

    Args:
        spec: The host half to follow.
        others: Host halves of further detectors: the same faces are cut as each of them says. All take pictures, or
            all take the same clips.
        max_pixels: Pictures and frames with more pixels are refused.
        frames: Frames sampled from a video.
        clips: Clips sampled from a video instead, by a detector of clips.
        max_faces: Faces kept per picture or frame, most confident first.
        finder: The face finder to use; by default one with its default settings.
    """

    def __init__(
        self,
        spec: PreprocessSpec,
        *,
        others: Sequence[PreprocessSpec] = (),
        max_pixels: int = MAX_PIXELS,
        frames: int = 16,
        clips: int = 4,
        max_faces: int = 16,
        finder: FaceFinder | None = None,
    ) -> None:
        if any(other.clip != spec.clip for other in others):
            raise DeepfakeError("these detectors take different clips, or some take pictures: they cannot share faces")
        self.spec = spec
        self.specs = (spec, *others)
        self.max_pixels = max_pixels
        self.frames = frames
        self.clips = clips
        self.max_faces = max_faces
        self._finder = FaceFinder() if finder is None else finder

    def prepare(self, source: Single) -> Prepared:
        """Decode one input and cut its faces: ``uint8 [n, H, W, 3]`` RGB, with n = 0 where no face is found.

        For a detector of clips, faces are followed through each clip, and one clip is cut for each: ``uint8
        [n, T, H, W, 3]``. A video that is shorter repeats its last frame. The frames of one clip are in memory at a
        time.

        A bad input gives a result with ``error`` set; it raises nothing.
        """
        if isinstance(source, Frames):
            source = Source("<frames>", source)
        name, data = (source.name, source.data) if isinstance(source, Source) else (name_of(source), source)
        work = _Work(name)
        error = ""
        try:
            if self.spec.clip is not None:
                self._prepare_clips(data, self.spec.clip, work)
            elif isinstance(data, Frames):
                raise InputError(name, "is the frames of a video, which this detector judges as single pictures")
            elif isinstance(data, str | os.PathLike | bytes) and is_video(data):
                self._prepare_video(data, work)
            else:
                self._prepare_picture(data, work)
        except InputError as problem:
            # Frames that were read before a video's failure do not make up for it.
            work = _Work(name, timings_ms=work.timings_ms)
            error = problem.reason
        crops, *others = (
            np.stack([cuts[place] for cuts in work.crops]) if work.crops else np.empty((0, *spec.input_shape), np.uint8)
            for place, spec in enumerate(self.specs)
        )
        return Prepared(
            source=name,
            width=work.width,
            height=work.height,
            mode=work.mode,
            crops=crops,
            faces=tuple(work.faces),
            times_s=tuple(work.times_s),
            frames=work.frames,
            error=error,
            timings_ms=work.timings_ms,
            others=tuple(others),
            tracks=tuple(work.tracks),
        )

    def _prepare_picture(self, data: Any, work: _Work) -> None:
        def decoded(min_side: int | None) -> Picture:
            with work.timed("decode"):
                return decode(data, max_pixels=self.max_pixels, min_side=min_side, name=work.source)

        picture = decoded(_FIRST_LOOK_SIDE)
        work.width, work.height, work.mode = picture.width, picture.height, picture.mode
        work.frames = 1
        # In pixels of the full picture from here on.
        faces = [_scale_face(face, 1 / picture.scale) for face in self._find(picture.pixels, work)]
        needed = self._side_needed(picture, faces)
        if picture.scale < 1 and needed > max(picture.pixels.shape[:2]):
            picture = decoded(needed)
        self._cut(picture.pixels, picture.scale, faces, None, work)

    def _prepare_video(self, data: str | os.PathLike[str] | bytes, work: _Work) -> None:
        from deepfake_core.inputs.video import sample_frames

        work.mode = "video"
        for frame in work.decoded(sample_frames(data, self.frames, max_pixels=self.max_pixels, name=work.source)):
            work.frames += 1
            work.height, work.width = frame.pixels.shape[:2]
            self._cut(frame.pixels, 1.0, self._find(frame.pixels, work), frame.time_s, work)

    def _prepare_clips(self, data: Any, clip: Clip, work: _Work) -> None:
        from deepfake_core.inputs.video import sample_clips

        work.mode = "video"
        if isinstance(data, Frames):
            clips = self._clips_of(data.pictures, clip, work)
        elif isinstance(data, str | os.PathLike | bytes) and is_video(data):
            clips = sample_clips(data, clip, self.clips, max_pixels=self.max_pixels, name=work.source)
        else:
            picture = decode(data, max_pixels=self.max_pixels, name=work.source)
            work.mode = picture.mode
            clips = self._clips_of([picture.pixels], clip, work)
        for frames in work.decoded(clips):
            work.frames += len(frames)
            sizes = [frame.pixels.shape[:2] for frame in frames]
            work.height, work.width = sizes[-1]
            for track in follow([self._find(frame.pixels, work) for frame in frames], sizes):
                self._cut_clip(frames, track, clip, work)

    def _clips_of(self, pictures: Sequence[PictureSource], clip: Clip, work: _Work) -> Iterator[list[Frame]]:
        """Clips of a video whose frames are single pictures; what cannot be read is passed over.

        Raises:
            InputError: No frame can be read.
        """
        from deepfake_core.inputs.video import Frame, clip_starts

        unreadable: list[str] = []
        any_read = False
        for start in clip_starts(len(pictures), self.clips, clip):
            frames = []
            for number in range(start, min(start + clip.length * clip.stride, len(pictures)), clip.stride):
                try:
                    frames.append(Frame(number, None, decode(pictures[number], max_pixels=self.max_pixels).pixels))
                except (InputError, OSError) as error:
                    unreadable.append(str(error))
            if frames:
                any_read = True
                yield frames
        if not any_read:
            raise InputError(work.source, f"no frame can be read: {unreadable[0] if unreadable else 'there is none'}")

    def _cut_clip(self, frames: list[Frame], track: Track, clip: Clip, work: _Work) -> None:
        with work.timed("crop"):
            cuts = []
            for spec in self.specs:
                crops = [prepare_crop(frame.pixels, box, spec) for frame, box in zip(frames, track.boxes, strict=True)]
                cuts.append(np.stack([*crops, *[crops[-1]] * (clip.length - len(crops))]))
        work.crops.append(tuple(cuts))
        work.faces.append(Face(track.boxes[0], track.confidence))
        work.times_s.append(frames[0].time_s)
        work.tracks.append(
            tuple(FrameBox(frame.index, frame.time_s, box) for frame, box in zip(frames, track.boxes, strict=True))
        )

    def _find(self, pixels: NDArray[np.uint8], work: _Work) -> list[Face]:
        """Faces in ``uint8 [h, w, 3]``; the whole picture as one, where no detector wants the face finder."""
        if all(spec.crop.kind == "whole_image" for spec in self.specs):
            height, width = pixels.shape[:2]
            return [Face(Box(0.0, 0.0, float(width), float(height)), 1.0)]
        with work.timed("faces"):
            return self._finder.find(pixels)[: self.max_faces]

    def _side_needed(self, picture: Picture, faces: list[Face]) -> int:
        """Longer side, in pixels, that the decoded picture must have to hold enough detail for every crop."""
        scale = max(_scale_needed(spec, picture, faces) for spec in self.specs)
        return round(min(1.0, scale) * max(picture.width, picture.height))

    def _cut(
        self, pixels: NDArray[np.uint8], scale: float, faces: list[Face], time_s: float | None, work: _Work
    ) -> None:
        with work.timed("crop"):
            for face in faces:
                box = scale_box(face.box, scale, scale)
                work.crops.append(tuple(prepare_crop(pixels, box, spec) for spec in self.specs))
        work.faces += faces
        work.times_s += [time_s] * len(faces)


def _scale_needed(spec: PreprocessSpec, picture: Picture, faces: list[Face]) -> float:
    height, width = spec.size
    if spec.crop.kind == "whole_image":
        return _ENOUGH * max(width / picture.width, height / picture.height)
    sides = [crop_side(face.box, spec.crop) for face in faces]
    return _ENOUGH * max(width, height) / min(sides) if sides else 0.0


def _scale_face(face: Face, factor: float) -> Face:
    landmarks = tuple((x * factor, y * factor) for x, y in face.landmarks)
    return Face(scale_box(face.box, factor, factor), face.confidence, landmarks)
