"""Explainers that hide parts of the crop and observe the score; they work with any runtime.

A hidden part is replaced by a blurred copy of the crop, which removes detail without adding edges or colours that no
photograph has. A detector that takes blur itself for a trace of forgery is misread by this: compare with another
explainer. The strongest place is 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deepfake_core.explainers.base import RELATIVE, Explainable, Explainer
from deepfake_core.explainers.evidence import stretched

if TYPE_CHECKING:
    from deepfake_registry.manifest import Calibration

_BATCH = 16
BLUR = 1 / 12
"""Standard deviation of the blur that hides a part, as a share of the height of the crop."""


class Perturbation(Explainer):
    """Base class: scores of the crop under masks."""

    targets = ("fake", "real")

    def explain(self, detector: Explainable, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = crop.shape[-3:-1]
        masks = list(self.masks(height, width))
        sign = 1.0 if self.target == "fake" else -1.0
        heat = self.heat(np.stack(masks), sign * masked_logits(detector, crop, masks))
        return np.repeat(heat[None], len(crop), axis=0) if crop.ndim == 4 else heat

    @abstractmethod
    def masks(self, height: int, width: int) -> Iterator[NDArray[np.float32]]:
        """Yield masks ``float32 [height, width]`` in [0, 1]: 1 shows the crop, 0 hides it."""

    @abstractmethod
    def heat(self, masks: NDArray[np.float32], logits: NDArray[np.float64]) -> NDArray[np.float32]:
        """Compute the map ``float32 [H, W]`` in [0, 1].

        Args:
            masks: ``float32 [M, H, W]`` in [0, 1].
            logits: Score of the target class under each mask, ``float64 [M]``.
        """


class Occlusion(Perturbation):
    """Decrease of the score when a window hides a place (Zeiler & Fergus 2014, arXiv 1311.2901).

    The window is a sixth of the side wide and moves by half of its width. A place gets the mean over all windows that
    hide it, and 0 where hiding it does not lower the score. In a clip, the same place is hidden in all frames.
    """

    caption = "hiding this lowers P({target})"
    meaning = f"Colour: how far P({{target}}) falls when the place is hidden; {RELATIVE}."
    found = "Hiding the part {place} lowers P({target}) most."
    windows: ClassVar[int] = 6
    hidden = 0.0
    """Score of the target class with the strongest place hidden, a logit, as the last map shows it."""

    def masks(self, height: int, width: int) -> Iterator[NDArray[np.float32]]:
        yield np.ones((height, width), np.float32)
        tall, wide = -(-height // self.windows), -(-width // self.windows)
        steps = 2 * self.windows - 1
        for top in np.linspace(0, height - tall, steps).round().astype(int):
            for left in np.linspace(0, width - wide, steps).round().astype(int):
                mask = np.ones((height, width), np.float32)
                mask[top : top + tall, left : left + wide] = 0.0
                yield mask

    def heat(self, masks: NDArray[np.float32], logits: NDArray[np.float64]) -> NDArray[np.float32]:
        hidden = 1.0 - masks[1:]
        falls = np.tensordot(logits[0] - logits[1:], hidden, 1) / hidden.sum(0)
        self.hidden = float(logits[0] - max(falls.max(), 0.0))
        return stretched(np.maximum(falls, 0.0))

    def sentence(self, place: str, *, whole: bool, p_fake: float, calibration: Calibration) -> str:  # noqa: ARG002
        if not place:
            return f"Nothing localised: hiding any one place does not lower P({self.target})."
        fake = self.target == "fake"
        left = calibration.p_fake(self.hidden if fake else -self.hidden)
        before, after = (p_fake, left) if fake else (1.0 - p_fake, 1.0 - left)
        decides = calibration.verdict(left) != calibration.verdict(p_fake)
        start = "Hiding" if decides else "No single place decides: hiding"
        return f"{start} the part {place} lowers P({self.target}) most, from {before:.1%} to {after:.1%}."


class Rise(Perturbation):
    """Mean of random masks, weighted by the score under each (Petsiuk et al. 2018, arXiv 1806.07421).

    The weight of a mask is its logit minus the mean logit over all masks, so that how often a place was shown does not
    count. The map has no natural zero, so it is 0 at its lowest place. The masks come from a fixed seed: the same crop
    gives the same map. In a clip, all frames have the same mask.

    Attributes:
        count: Number of masks.
        cells: Cells along each side of the grid that a mask is drawn on before it is enlarged and shifted.
        shown: Share of the cells that show the crop.
        seed: Seed for the masks.
    """

    caption = "showing this raises P({target})"
    meaning = f"Colour: places that raise P({{target}}) when they are shown; {RELATIVE}."
    found = "P({target}) depends most on the part {place}."
    count: ClassVar[int] = 600
    cells: ClassVar[int] = 7
    shown: ClassVar[float] = 0.5
    seed: ClassVar[int] = 0

    def masks(self, height: int, width: int) -> Iterator[NDArray[np.float32]]:
        random = np.random.default_rng(self.seed)
        tall, wide = -(-height // self.cells), -(-width // self.cells)
        size = ((self.cells + 1) * wide, (self.cells + 1) * tall)
        for _ in range(self.count):
            grid = (random.random((self.cells + 1, self.cells + 1)) < self.shown).astype(np.float32)
            large = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BILINEAR))
            top, left = random.integers(tall), random.integers(wide)
            yield large[top : top + height, left : left + width]

    def heat(self, masks: NDArray[np.float32], logits: NDArray[np.float64]) -> NDArray[np.float32]:
        return stretched(np.tensordot(logits - logits.mean(), masks, 1))


def blurred(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blur ``uint8 [..., H, W, 3]`` RGB until no detail is left, each picture by itself."""
    soft = ImageFilter.GaussianBlur(BLUR * crop.shape[-3])
    frames = crop.reshape(-1, *crop.shape[-3:])
    return np.stack([np.asarray(Image.fromarray(frame).filter(soft)) for frame in frames]).reshape(crop.shape)


def masked_logits(
    detector: Explainable, crop: NDArray[np.uint8], masks: Iterable[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Compute the logits ``float64 [M]`` of a crop under M masks.

    Args:
        detector: Model that scores.
        crop: ``uint8 [H, W, 3]`` RGB, or a clip ``[T, H, W, 3]``.
        masks: M masks ``float32 [H, W]`` in [0, 1]; 0 shows the blurred crop.
    """
    soft = blurred(crop).astype(np.float32)
    detail = crop.astype(np.float32) - soft
    pending = iter(masks)
    logits: list[NDArray[np.float32]] = []
    while batch := list(islice(pending, _BATCH)):
        pictures = [(soft + detail * mask[..., None]).round().astype(np.uint8) for mask in batch]
        logits.append(detector.score(np.stack(pictures)).logit)
    return np.concatenate(logits).astype(np.float64)
