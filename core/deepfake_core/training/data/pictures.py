"""Training sets of labelled pictures and clips, from a store of crops."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property, partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import Draw, Key, TrainingSet
from deepfake_core.datasets.crop_store.margin import check_margin
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.evaluation.grouping import places
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import crop_face, prepare_crop, resize
from deepfake_core.training.data.augment import policy
from deepfake_core.training.data.videos import Videos, clip_of
from deepfake_registry.manifest import FaceCrop, PreprocessSpec, Resize

CHUNK = 64
"""Number of neighbouring items that are read at about the same time."""

WINDOW = 128
"""Number of chunks whose items are shuffled together, which a storage system has to keep cached."""

# Range of the ratio of a training crop's margin to the detector's, and largest shift as a fraction of the crop's side.
_ZOOM = (0.85, 1.15)
_SHIFT = 0.06


class StoreSet(TrainingSet):
    """Base class of the training sets: the order of the items, and the way from rows to tensors.

    Args:
        store: Store of crops.
        rows: ``intp [N]``: rows that may be used.
        spec: Preprocessing of the detector, around which training crops vary.
        recipe: Recipe with the seed, the balance of the classes and the augmentation.
        overfit: Whether to leave out all variation, so that the crops are those of validation.

    Raises:
        TrainingDataError: There are no rows; the recipe balances the classes and there is only one; or the store's
            crops are tighter than the detector's.
    """

    def __init__(
        self,
        store: CropStore,
        rows: NDArray[np.intp],
        spec: PreprocessSpec,
        recipe: TrainRecipe,
        *,
        overfit: bool = False,
    ) -> None:
        check_margin(store, spec)
        if len(rows) == 0:
            raise TrainingDataError(f"{store.folder}: the training split is empty")
        cv2.setNumThreads(0)  # OpenCV's thread pool does not survive the fork of a loading process
        self.store, self.rows, self.recipe, self.overfit = store, np.sort(rows), recipe, overfit
        self.spec, self.policy = spec, policy("none" if overfit else recipe.augment)
        fake = store.fake[self._firsts()].astype(np.int64)
        counts = np.bincount(fake, minlength=2)
        if recipe.balance != "none" and counts.min() == 0:
            missing = "real" if counts[0] == 0 else "fake"
            raise TrainingDataError(
                f"{store.folder}: no {missing} samples to train on, which balance={recipe.balance!r} needs"
            )
        numbers = np.arange(len(fake))
        if recipe.balance == "sampler":
            smaller = np.flatnonzero(fake == counts.argmin())
            numbers = np.concatenate([numbers, np.resize(smaller, counts.max() - counts.min())])
        self._numbers = numbers
        weights = len(fake) / (2 * np.maximum(counts, 1)) if recipe.balance == "loss" else np.ones(2)
        self._weights = weights.astype(np.float32)

    @abstractmethod
    def _firsts(self) -> NDArray[np.intp]:
        """Return the first row of each item, ``intp [items]``."""

    @abstractmethod
    def _rows(self, number: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Return the rows of the pictures of an item, ``intp [n]``."""

    @abstractmethod
    def _grouped(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give the pictures of an item, ``uint8 [n, H, W, 3]``, the leading axis ``group``, which has length 1."""

    def __len__(self) -> int:
        return len(self._numbers)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the item numbers of an epoch, ``int64 [len(self)]``, in the order of :func:`bounded_shuffle`.

        Items that are neighbours in the store are read at about the same time, and every batch is mixed.
        """
        firsts = self._firsts()[self._numbers]
        stratum = self.store.sources[firsts].astype(np.int32) * 2 + self.store.fake[firsts]
        return bounded_shuffle(stratum, np.random.default_rng([self.recipe.seed, epoch, 0, 2]))

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, item = key
        rng = np.random.default_rng([self.recipe.seed, epoch, item, 1])
        rows = self._rows(int(self._numbers[item]), rng)
        fake = int(self.store.fake[rows[0]])
        try:
            images = self._pictures(rows, rng, as_they_are=self.overfit)
        except InputError:
            # The loop counts and names such items, and stops when there are too many.
            images = np.zeros((len(rows), *self.spec.size, 3), np.uint8)
            return self._item(images, fake, 0.0)
        return self._item(images, fake, float(self._weights[fake]))

    def _item(self, images: NDArray[np.uint8], fake: int, weight: float) -> dict[str, Tensor]:
        return {
            "images": torch.from_numpy(self._grouped(images)),
            "fake": torch.tensor([float(fake)]),
            "weight": torch.tensor([weight]),
            "unreadable": torch.tensor([weight == 0.0]),
        }

    def _pictures(self, rows: NDArray[np.intp], rng: np.random.Generator, *, as_they_are: bool) -> NDArray[np.uint8]:
        """Cut and augment the pictures of rows, all in the same way; return ``uint8 [len(rows), H, W, 3]`` RGB.

        Raises:
            InputError: A row cannot be read.
        """
        if as_they_are:
            return np.stack([prepare_crop(self.store.read(row), self.store.box(row), self.spec) for row in rows])
        zoom, shift = rng.uniform(*_ZOOM), rng.uniform(-_SHIFT, _SHIFT, 2)
        crops = [self._cut(self.store.read(row), self.store.box(row), zoom, shift) for row in rows]
        on_device = self.recipe.augment_on == "device"
        return np.stack(
            self.policy.apply(
                crops, rng, self.spec.size, lambda crop: resample(crop, self.spec.resize), on_device=on_device
            )
        )

    def _cut(
        self, pixels: NDArray[np.uint8], box: Box | None, zoom: float, shift: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """Cut a crop that is close to the detector's own."""
        if box is None or not isinstance(self.spec.crop, FaceCrop):
            # A whole picture has no surroundings, so the crop is a smaller one within it.
            sides = np.array(pixels.shape[:2]) * min(zoom, 2 - zoom)
            top, left = ((pixels.shape[:2] - sides) * (0.5 + shift / (2 * _SHIFT))).astype(int)
            height, width = np.maximum(sides.astype(int), 1)
            return pixels[top : top + height, left : left + width]
        side = self.spec.crop.margin * max(box.width, box.height)
        box = Box(box.x + shift[0] * side, box.y + shift[1] * side, box.width, box.height)
        return crop_face(pixels, box, self.spec.crop.model_copy(update={"margin": self.spec.crop.margin * zoom}))

    def draws(self, most: int, *, plain: bool = False) -> Iterator[Draw]:
        """Yield items of each source and class; what a device does to them, flips and colours, is not done."""
        firsts = self._firsts()[self._numbers]
        strata = self.store.sources[firsts].astype(np.int64) * 2 + self.store.fake[firsts]
        for stratum, here in places(strata).items():
            source, fake = divmod(int(stratum), 2)
            for item in here[:: max(1, -(-len(here) // most))].tolist():
                rows = self._rows(int(self._numbers[item]), np.random.default_rng([item, 0]))
                yield Draw(
                    self.store.source_names[source],
                    (fake,),
                    (int(self.store.families[firsts[item]]),),
                    partial(self._made, rows, item, as_they_are=plain),
                )

    def _made(self, rows: NDArray[np.intp], item: int, *, as_they_are: bool) -> NDArray[np.uint8]:
        rng = np.random.default_rng([item, 1])
        return self._grouped(self._pictures(rows, rng, as_they_are=as_they_are))

    def name(self, item: int) -> str:
        return self.store.origin(int(self._firsts()[self._numbers[item]]))


class PictureSet(StoreSet):
    """Training set with one picture per item; the arguments are those of :class:`StoreSet`."""

    def _firsts(self) -> NDArray[np.intp]:
        return self.rows

    def _rows(self, number: int, rng: np.random.Generator) -> NDArray[np.intp]:  # noqa: ARG002 - nothing to draw
        return self.rows[number : number + 1]

    def _grouped(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return images


class ClipSet(StoreSet):
    """Training set with one clip per item: frames of one video in their order, from a random start.

    The length of a clip and the stride of its frames are those of the detector. All frames of a clip have the same
    augmentation. A video that is too short repeats its last frame. The arguments are those of :class:`StoreSet`.
    """

    @cached_property
    def _videos(self) -> Videos:
        return Videos(self.store, self.rows, clip_of(self.spec))

    def _firsts(self) -> NDArray[np.intp]:
        return self._videos.firsts

    def _rows(self, number: int, rng: np.random.Generator) -> NDArray[np.intp]:
        if self.overfit:
            return self._videos.middle(number)
        starts = self._videos.starts(number)
        return self._videos.clip(number, int(starts[rng.integers(len(starts))]))

    def _grouped(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return images[None]


def bounded_shuffle(stratum: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a random order ``int64 [N]`` in which neighbouring items are read at about the same time.

    Chunks of neighbouring items come in random order. The chunks of each stratum are evenly spread over the epoch,
    because datasets list one class and source after the other. The items of a window of chunks are shuffled.

    Args:
        stratum: ``int32 [N]``: number that stands for the source and class of each item.
        rng: Generator that decides the order.
    """
    edges = np.append(np.arange(int(rng.integers(CHUNK)), len(stratum), CHUNK), len(stratum))
    edges = np.unique(np.append(edges, 0))
    kind = stratum[edges[:-1]]
    place = np.empty(len(kind))
    for here in places(kind).values():
        place[here] = (rng.permutation(len(here)) + rng.random(len(here))) / len(here)
    chunks = np.argsort(place, kind="stable")
    order = np.empty(len(stratum), np.int64)
    done = 0
    for first in range(0, len(chunks), WINDOW):
        items = np.concatenate([np.arange(edges[chunk], edges[chunk + 1]) for chunk in chunks[first : first + WINDOW]])
        order[done : done + len(items)] = rng.permutation(items)
        done += len(items)
    return order


def resample(pixels: NDArray[np.uint8], spec: Resize) -> NDArray[np.uint8]:
    """Resize ``uint8 [h, w, 3]`` RGB to ``uint8 [H, W, 3]`` about four times as fast as at inference.

    The result differs from that of :func:`~deepfake_core.inputs.crop.resize` by at most two of the 256 levels: torch
    has Pillow's bilinear and bicubic kernels for 8-bit pixels.

    Args:
        pixels: Image to resize.
        spec: Size and interpolation of the result.
    """
    size = spec.height, spec.width
    if pixels.shape[:2] == size or not spec.antialias or spec.interpolation not in ("bilinear", "bicubic"):
        return resize(pixels, spec)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode=spec.interpolation, antialias=True)
    # OpenCV interleaves planes many times as fast as NumPy transposes them.
    return np.asarray(cv2.merge(list(planes[0].numpy())), np.uint8)
