"""Cut one sample of a dataset into encoded crops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.crops.coding import encode
from deepfake_core.data.crops.writer import Crop, SampleCrops
from deepfake_core.data.fact_cache import key_of
from deepfake_core.data.inspect import Facts, at_once
from deepfake_core.datasets import Sample
from deepfake_core.datasets.crop_store.store import StoreSpec
from deepfake_core.errors import InputError
from deepfake_core.evaluation.samples import Reader
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import crop_side, resize, scale_box
from deepfake_core.inputs.decode import decode, one_line
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import Frame, sample_clips, sample_frames
from deepfake_registry.manifest import FaceCrop, Resize

# A large JPEG is first decoded at a reduced scale whose longer side has at least this many pixels: twice the size at
# which the face finder works, so that most faces can be cut from it as well.
_FIRST_LOOK_SIDE = 1280

NO_FACE = "no face found"
"""Reason why an image or a frame that can be read is left out."""

DAMAGED = "damaged frame of a video"
"""Reason why a frame is left out that may be smeared."""


class Cutter:
    """Cutter of encoded crops as a :class:`StoreSpec` says; threads may share it.

    Args:
        spec: Settings that determine the crops.
    """

    def __init__(self, spec: StoreSpec) -> None:
        self.spec = spec
        self._finder = FaceFinder()
        self._square = FaceCrop.model_construct(margin=spec.margin)  # not validated: it may exceed a detector's range

    def cut(self, sample: Sample, read: Reader) -> SampleCrops:
        """Return the crops of an image or of the frames of a video; a problem becomes a rejection and never raises.

        Args:
            sample: Sample to cut.
            read: Function that returns the path of the sample's file, or its bytes.
        """
        moving, facts, file = False, cast("Facts | None", None), key_of(sample)
        try:
            data = read()
            moving = is_video(data)
            if not moving:
                data, facts = at_once(data, sample.name)
            crops = self._video(data, sample.name) if moving else self._picture(data, sample)
        except InputError as error:
            crops = SampleCrops(rejected=[(-1, error.reason)], moving=moving)
        except (OSError, cv2.error) as error:
            crops = SampleCrops(rejected=[(-1, f"cannot be read: {one_line(error)}")], moving=moving)
        return replace(crops, file=file, facts=facts)

    @staticmethod
    def source(sample: Sample, read: Reader) -> str:
        """Return :attr:`SampleCrops.source` of a sample without cutting it."""
        file, facts = key_of(sample), None
        with suppress(InputError, OSError):
            data = read()
            if not is_video(data):
                facts = at_once(data, sample.name)[1]
        return SampleCrops(file=file, facts=facts).source

    def _picture(self, data: Path | bytes, sample: Sample) -> SampleCrops:
        if self.spec.crop == "whole":
            pixels = decode(data, min_side=2 * self.spec.side, name=sample.name).pixels
            return SampleCrops([self._whole(pixels, sample.frame)])
        picture = decode(data, min_side=_FIRST_LOOK_SIDE, name=sample.name)
        box = self._largest(picture.pixels)
        if box is None:
            return SampleCrops(rejected=[(-1, NO_FACE)])
        square = self._side(box)
        if picture.scale < 1 and square < self.spec.side:
            longer = max(picture.pixels.shape[:2])
            full = decode(data, min_side=-(-longer * self.spec.side // square), name=sample.name)
            box = scale_box(box, *(full.pixels.shape[axis] / picture.pixels.shape[axis] for axis in (1, 0)))
            picture = full
        return SampleCrops([self._face(picture.pixels, box, sample.frame)])

    def _video(self, data: Path | bytes, name: str) -> SampleCrops:
        crops: list[Crop] = []
        rejected: list[tuple[int, str]] = []
        for frame in self._frames(data, name):
            if frame.is_damaged:
                rejected.append((frame.index, DAMAGED))
            elif self.spec.crop == "whole":
                crops.append(self._whole(frame.pixels, frame.index))
            elif (box := self._largest(frame.pixels)) is None:
                rejected.append((frame.index, NO_FACE))
            else:
                crops.append(self._face(frame.pixels, box, frame.index))
        return SampleCrops(crops, rejected, moving=True)

    def _frames(self, data: Path | bytes, name: str) -> Iterator[Frame]:
        if (clip := self.spec.clip) is None:
            return sample_frames(data, self.spec.frames, name=name)
        return chain.from_iterable(sample_clips(data, clip, -(-self.spec.frames // clip.length), name=name))

    def _largest(self, pixels: NDArray[np.uint8]) -> Box | None:
        faces = self._finder.find(pixels)
        return max((face.box for face in faces), key=lambda box: box.width * box.height, default=None)

    def _face(self, pixels: NDArray[np.uint8], box: Box, frame: int) -> Crop:
        """Return the part of the square around a face that lies inside of the image ``uint8 [h, w, 3]`` RGB.

        Nothing is stored beyond the edge of the image, because each detector's preprocessing fills it in its own way.
        """
        height, width = pixels.shape[:2]
        side = self._side(box)
        left, top = round(box.x + box.width / 2 - side / 2), round(box.y + box.height / 2 - side / 2)
        rows = slice(max(0, top), max(0, min(height, top + side)))
        columns = slice(max(0, left), max(0, min(width, left + side)))
        part = pixels[rows, columns]
        box = Box(box.x - columns.start, box.y - rows.start, box.width, box.height)
        return self._reduced(np.ascontiguousarray(part), min(1.0, self.spec.side / side), box, frame)

    def _whole(self, pixels: NDArray[np.uint8], frame: int) -> Crop:
        return self._reduced(pixels, min(1.0, 2 * self.spec.side / max(pixels.shape[:2])), None, frame)

    def _side(self, box: Box) -> int:
        return crop_side(box, self._square)

    def _reduced(self, pixels: NDArray[np.uint8], scale: float, box: Box | None, frame: int) -> Crop:
        if scale < 1:
            height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
            if box is not None:
                box = scale_box(box, width / pixels.shape[1], height / pixels.shape[0])
            pixels = resize(pixels, Resize(height=height, width=width, interpolation="bicubic"))
        corners = None if box is None else (box.x, box.y, box.width, box.height)
        data = encode(pixels, "png" if self.spec.quality is None else "jpeg", self.spec.quality)
        return Crop(data, cast("tuple[int, int]", pixels.shape[:2]), corners, frame)
