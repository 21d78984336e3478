"""Preprocessing of one input on the host: decode, find faces, cut and resize, without raising for a bad input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np

from deepfake_core.errors import DeepfakeError, InputError
from deepfake_core.inputs.boxes import Box, Face, FrameBox
from deepfake_core.inputs.crop import crop_side, prepare_crop, scale_box
from deepfake_core.inputs.decode import Picture, decode
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.reading.limits import pixel_limit
from deepfake_core.inputs.sources import Frames, as_source
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.tracks import Track, follow
from deepfake_core.timing import Stages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_core.inputs.sources import OneInput
    from deepfake_core.inputs.sources import Picture as PictureSource
    from deepfake_core.inputs.video import Frame
    from deepfake_registry.manifest import Clip, PreprocessSpec

T = TypeVar("T")
F = TypeVar("F", Face, Track)

# A large JPEG is first decoded at a reduced scale whose longer side has at least this many pixels: twice the size at
# which the face finder works, so that most faces can be cut from it as well.
_FIRST_LOOK_SIDE = 1280
# A crop is cut from a reduced image only if it has there at least this many times the size of the network's input.
_ENOUGH = 2.0
# The crops of one input take no more memory than this; so many faces are a crowd of thousands.
_MOST_CROP_BYTES = 512 << 20


class PrepareOptions(TypedDict, total=False):
    """Options of :class:`Preparer` that the verbs of a detector take, with the same defaults.

    Attributes:
        frames: Number of frames to take of a video, spread evenly over it; 16.
        clips: Number of clips to take of a video, by a detector of clips; 4.
        max_faces: Most faces to take of a picture, a frame or a clip, the largest ones; ``None``, for all.
        max_pixels: Most pixels to decode of one file; what ``DEEPFAKE_MAX_PIXELS`` says, or 64 million.
    """

    frames: int
    clips: int
    max_faces: int | None
    max_pixels: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One input, ready for a network.

    Attributes:
        source: Name of the input, as the user gave it.
        width: Width of the image or of the video's frames as shown, in pixels; ``None`` if nothing was decoded.
        height: Height of the image or of the video's frames as shown, in pixels; ``None`` if nothing was decoded.
        mode: Pillow's name for the colour mode of the file; ``"video"`` for a video.
        crops: ``uint8 [n, H, W, 3]`` RGB, one crop for each face; or clips ``uint8 [n, T, H, W, 3]``, one for each
            track.
        faces: Face of each crop, in pixels of the full image or frame, for a clip in its first frame.
        times_s: Time in seconds at which the (first) frame of each crop is shown; ``None`` for an image.
        frames: Number of images that were searched: 1, or the frames sampled from a video; 0 if nothing was decoded.
        error: Reason why there is nothing to score; ``""`` otherwise. An input without a face is no error.
        timings_ms: Milliseconds spent on the stages ``decode``, ``faces`` and ``crop``.
        others: Crops of the same faces for further detectors, ``uint8 [n, H, W, 3]`` RGB each.
        tracks: For each clip, the position of the face in its frames, which are fewer than T if the video is shorter;
            empty for images.
        warnings: What limits the judgement of this input, one sentence each: parts that were damaged, or left out.
        protected: For each crop, whether its face carries the mark of protection and cannot be judged; empty where
            that was not read.
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
    warnings: tuple[str, ...] = ()
    faces_left_out: int = 0
    protected: tuple[bool, ...] = ()


@dataclass(slots=True)
class _Work:
    """Intermediate results of one input."""

    source: str
    width: int | None = None
    height: int | None = None
    mode: str = ""
    crops: list[tuple[NDArray[np.uint8], ...]] = field(default_factory=list)  # of each face, one for each detector
    faces: list[Face] = field(default_factory=list)
    times_s: list[float | None] = field(default_factory=list)
    tracks: list[tuple[FrameBox, ...]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    frames: int = 0
    left_out: int = 0
    tiny: int = 0
    uncertain: int = 0
    passing: int = 0
    is_crowd: bool = False
    stages: Stages = field(default_factory=lambda: Stages("decode", "faces", "crop"))

    def decoded(self, samples: Iterator[T]) -> Iterator[T]:
        """Yield the same samples, and count the time that they take as ``decode``."""
        while True:
            with self.stages.timed("decode"):
                sample = next(samples, None)
            if sample is None:
                return
            yield sample


class Preparer:
    """Preparer that turns inputs into crops as a :class:`PreprocessSpec` says; threads may share it.

    Args:
        spec: Preprocessing to follow.
        others: Preprocessing of further detectors, for which the same faces are cut too. All detectors take images, or
            all take the same clips.
        frames: Number of frames that are sampled from a video.
        clips: Number of clips that are sampled from a video instead, for a detector of clips.
        max_faces: Most faces that are cut of an image, a frame or a clip, the largest ones; ``None`` for all. The crops
            of one input take 512 MB at most in any case, which is thousands of faces.
        max_pixels: Most pixels that are decoded of an image: a larger JPEG file is decoded at a reduced size, other
            larger files and frames are refused. By default what ``DEEPFAKE_MAX_PIXELS`` says, or 64 million.
        finder: Face finder to use; by default one with default settings.

    Raises:
        DeepfakeError: The detectors take different clips, or some take images and others clips; or a limit is below 1.
    """

    def __init__(
        self,
        spec: PreprocessSpec,
        *,
        others: Sequence[PreprocessSpec] = (),
        frames: int = 16,
        clips: int = 4,
        max_faces: int | None = None,
        max_pixels: int | None = None,
        finder: FaceFinder | None = None,
    ) -> None:
        if any(other.clip != spec.clip for other in others):
            raise DeepfakeError("these detectors take different clips, or some take pictures: they cannot share faces")
        if max_faces is not None and max_faces < 1:
            raise DeepfakeError(f"max_faces is {max_faces}; it must be at least 1, or None for all faces")
        self.spec = spec
        self.specs = (spec, *others)
        self.max_pixels = pixel_limit(max_pixels)
        self.frames = frames
        self.clips = clips
        self.max_faces = max_faces
        self._finder = FaceFinder() if finder is None else finder

    def prepare(self, source: OneInput) -> Prepared:
        """Decode one input and cut its faces: ``uint8 [n, H, W, 3]`` RGB, with n = 0 if no face is found.

        For a detector of clips, faces are followed through each clip, and one clip is cut for each face: ``uint8
        [n, T, H, W, 3]`` RGB. If the video is shorter, its last frame is repeated. Only one clip is in memory at a
        time.

        A bad input raises nothing: :attr:`Prepared.error` states the reason.
        """
        try:
            single = as_source(source)
        except InputError as problem:
            return self._prepared(_Work(problem.source), problem.reason)
        work = _Work(single.name)
        try:
            if self.spec.clip is not None:
                self._prepare_clips(single.data, self.spec.clip, work)
            elif isinstance(single.data, Frames):
                raise InputError(work.source, "is the frames of a video, which this detector judges as single pictures")
            elif isinstance(single.data, str | bytes) and is_video(single.data):
                self._prepare_video(single.data, work)
            else:
                self._prepare_picture(single.data, work)
        except InputError as problem:
            # Frames that were read before a video failed are dropped.
            return self._prepared(_Work(work.source, stages=work.stages, warnings=work.warnings), problem.reason)
        return self._prepared(work)

    def _prepared(self, work: _Work, error: str = "") -> Prepared:
        crops, *others = (
            np.stack([cuts[place] for cuts in work.crops]) if work.crops else np.empty((0, *spec.input_shape), np.uint8)
            for place, spec in enumerate(self.specs)
        )
        return Prepared(
            source=work.source,
            width=work.width,
            height=work.height,
            mode=work.mode,
            crops=crops,
            faces=tuple(work.faces),
            times_s=tuple(work.times_s),
            frames=work.frames,
            error=error,
            timings_ms=work.stages.spent_ms,
            others=tuple(others),
            tracks=tuple(work.tracks),
            warnings=(*work.warnings, *self._said(work)),
            faces_left_out=work.left_out,
        )

    def _said(self, work: _Work) -> Iterator[str]:
        """Yield a sentence for each reason for which something that looks like a face was not cut."""
        if work.left_out:
            limit = "512 MB of crops" if self.max_faces is None else f"max_faces={self.max_faces}"
            yield f"{work.left_out} of {work.left_out + len(work.faces)} faces were left out, the smallest: {limit}"
        if work.tiny:
            yield f"faces smaller than 16 pixels are not judged: {work.tiny}"
        if work.uncertain:
            yield f"small areas that are not certain to be faces are not judged: {work.uncertain}"
        if work.is_crowd:
            yield "there may be more faces: the smallest are hardly found (1/60 of the longer side); judge parts of it"
        if work.passing:
            yield f"faces seen in less than half of a clip are not judged: {work.passing} in single frames"

    def _prepare_picture(self, data: Any, work: _Work) -> None:
        def decoded(min_side: int | None) -> Picture:
            with work.stages.timed("decode"):
                return decode(data, max_pixels=self.max_pixels, min_side=min_side, name=work.source)

        picture = decoded(_FIRST_LOOK_SIDE)
        work.warnings += picture.warnings
        work.width, work.height, work.mode = picture.width, picture.height, picture.mode
        work.frames = 1
        # From here on, boxes are in pixels of the full image.
        found = self._largest(self._find(picture.pixels, work), work)
        faces = [_scale_face(face, 1 / picture.scale) for face in found]
        needed = self._side_needed(picture, faces)
        if picture.scale < 1 and needed > max(picture.pixels.shape[:2]):
            picture = decoded(needed)
            if needed > max(picture.pixels.shape[:2]):
                height, width = picture.pixels.shape[:2]
                work.warnings.append(
                    f"decoded at {width} × {height} pixels by the limit (max_pixels): small faces lose detail"
                )
        self._cut(picture.pixels, picture.scale, faces, None, work)

    def _prepare_video(self, data: str | bytes, work: _Work) -> None:
        from deepfake_core.inputs.video import sample_frames

        work.mode = "video"
        for frame in work.decoded(
            sample_frames(data, self.frames, max_pixels=self.max_pixels, name=work.source, warn=work.warnings.append)
        ):
            work.frames += 1
            work.height, work.width = frame.pixels.shape[:2]
            left = max(1, self.frames - work.frames + 1)
            faces = self._largest(self._find(frame.pixels, work), work, parts=left)
            self._cut(frame.pixels, 1.0, faces, frame.time_s, work)

    def _prepare_clips(self, data: Any, clip: Clip, work: _Work) -> None:
        from deepfake_core.inputs.video import sample_clips

        work.mode = "video"
        if isinstance(data, Frames):
            clips = self._clips_of(data.pictures, clip, work)
        elif isinstance(data, str | bytes) and is_video(data):
            clips = sample_clips(
                data, clip, self.clips, max_pixels=self.max_pixels, name=work.source, warn=work.warnings.append
            )
        else:
            picture = decode(data, max_pixels=self.max_pixels, name=work.source)
            work.mode = picture.mode
            clips = self._clips_of([picture.pixels], clip, work)
        for number, frames in enumerate(work.decoded(clips)):
            work.frames += len(frames)
            sizes = [frame.pixels.shape[:2] for frame in frames]
            work.height, work.width = sizes[-1]
            faces = [self._find(frame.pixels, work) for frame in frames]
            tracks = follow(faces, sizes)
            work.passing += sum(map(len, faces)) - sum(track.found for track in tracks)
            for track in self._largest(tracks, work, parts=max(1, self.clips - number)):
                self._cut_clip(frames, track, clip, work)

    def _clips_of(self, pictures: Sequence[PictureSource], clip: Clip, work: _Work) -> Iterator[list[Frame]]:
        """Yield the clips of a video whose frames are separate images; images that cannot be read are skipped.

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
        with work.stages.timed("crop"):
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
        """Find faces in ``uint8 [h, w, 3]`` RGB; if no detector needs a face finder, return the whole image as one."""
        if all(spec.crop.kind == "whole_image" for spec in self.specs):
            height, width = pixels.shape[:2]
            return [Face(Box(0.0, 0.0, float(width), float(height)), 1.0)]
        with work.stages.timed("faces"):
            found = self._finder.search(pixels)
        work.tiny += found.tiny
        work.uncertain += found.uncertain
        work.is_crowd |= found.is_crowd
        return found.faces

    def _largest(self, faces: list[F], work: _Work, parts: int = 1) -> list[F]:
        """Return as many of the faces, or tracks, as the limits allow: the largest, in their order.

        Args:
            faces: Faces of one image or frame, or the tracks of one clip.
            work: What was cut of the input up to now.
            parts: Number of images, frames or clips that share the memory that is left; this is one of them.
        """
        used = sum(cut.nbytes for cuts in work.crops for cut in cuts)
        each = sum(math.prod(spec.input_shape) for spec in self.specs)
        allowed = max(1, (_MOST_CROP_BYTES - used) // (parts * each))
        if self.max_faces is not None:
            allowed = min(allowed, self.max_faces)
        if len(faces) <= allowed:
            return faces
        work.left_out += len(faces) - allowed
        kept = sorted(range(len(faces)), key=lambda place: -_area(faces[place]))[:allowed]
        return [faces[place] for place in sorted(kept)]

    def _side_needed(self, picture: Picture, faces: list[Face]) -> int:
        """Return the longer side in pixels that a decoded image needs to hold enough detail for every crop."""
        scale = max(_scale_needed(spec, picture, faces) for spec in self.specs)
        return round(min(1.0, scale) * max(picture.width, picture.height))

    def _cut(
        self, pixels: NDArray[np.uint8], scale: float, faces: list[Face], time_s: float | None, work: _Work
    ) -> None:
        with work.stages.timed("crop"):
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


def _area(face: Face | Track) -> float:
    box = face.box if isinstance(face, Face) else face.boxes[0]
    return box.width * box.height


def _scale_face(face: Face, factor: float) -> Face:
    landmarks = tuple((x * factor, y * factor) for x, y in face.landmarks)
    return Face(scale_box(face.box, factor, factor), face.confidence, landmarks)
