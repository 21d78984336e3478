"""The whole host half for one input: decode, find faces, cut and resize. Never raises for a bad input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_core.errors import InputError
from deepfake_core.inputs.crop import crop_side, prepare_crop, scale_box
from deepfake_core.inputs.decode import MAX_PIXELS, Picture, decode, is_video, name_of
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.sources import Source
from deepfake_core.results import Box, Face

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from deepfake_registry.manifest import PreprocessSpec

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
        crops: ``uint8 [n, H, W, 3]`` RGB, one for each face.
        faces: The face of each crop, in pixels of the full picture or frame.
        times_s: For each crop, when its frame is shown, in seconds; ``None`` for a picture.
        frames: Pictures looked at: 1, or the frames sampled from a video; 0 when nothing was decoded.
        error: Why there is nothing to judge; empty otherwise. No face is not an error.
        timings_ms: Milliseconds spent on ``decode``, ``faces`` and ``crop``.
        others: The same faces cut for further detectors, ``uint8 [n, H, W, 3]`` RGB each.
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
    frames: int = 0
    timings_ms: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "faces": 0.0, "crop": 0.0})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.timings_ms[stage] += (perf_counter() - start) * 1e3


class Preparer:
    """Turns inputs into crops as a :class:`PreprocessSpec` says; safe to share between threads.

    Args:
        spec: The host half to follow.
        others: Host halves of further detectors: the same faces are cut as each of them says.
        max_pixels: Pictures and frames with more pixels are refused.
        frames: Frames sampled from a video.
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
        max_faces: int = 16,
        finder: FaceFinder | None = None,
    ) -> None:
        self.spec = spec
        self.specs = (spec, *others)
        self.max_pixels = max_pixels
        self.frames = frames
        self.max_faces = max_faces
        self._finder = FaceFinder() if finder is None else finder

    def prepare(self, source: Source | str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image) -> Prepared:
        """Decode one input and cut its faces: ``uint8 [n, H, W, 3]`` RGB, with n = 0 where no face is found.

        A bad input gives a result with ``error`` set; it raises nothing.
        """
        name, data = (source.name, source.data) if isinstance(source, Source) else (name_of(source), source)
        work = _Work(name)
        error = ""
        try:
            if isinstance(data, str | os.PathLike | bytes) and is_video(data):
                self._prepare_video(data, work)
            else:
                self._prepare_picture(data, work)
        except InputError as problem:
            # Frames that were read before a video's failure do not make up for it.
            work = _Work(name, timings_ms=work.timings_ms)
            error = problem.reason
        crops, *others = (
            np.stack([cuts[place] for cuts in work.crops]) if work.crops else np.empty((0, *spec.size, 3), np.uint8)
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

        samples = sample_frames(data, self.frames, max_pixels=self.max_pixels, name=work.source)
        work.mode = "video"
        while True:
            with work.timed("decode"):
                frame = next(samples, None)
            if frame is None:
                return
            work.frames += 1
            work.height, work.width = frame.pixels.shape[:2]
            self._cut(frame.pixels, 1.0, self._find(frame.pixels, work), frame.time_s, work)

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
