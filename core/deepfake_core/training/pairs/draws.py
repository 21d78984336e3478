"""What is random about pairs of a real face and a fake, drawn before any picture is made.

A :class:`Chunk` holds n pairs of one family. A number that can differ from pair to pair is an array ``[n, …]``, and a
choice of what is computed, such as a kernel, is one value for all of them: a device then makes each operation for the
whole chunk. :mod:`~deepfake_core.training.pairs.host` and :mod:`~deepfake_core.training.pairs.device` make the same
pictures of a chunk.

Coordinates, affine maps and rounding are those of :mod:`~deepfake_core.training.data.degrade`; lengths are in half
sides of the stored crop, whose side is 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.crops import face_mesh as mesh
from deepfake_core.training.data.degrade import (
    Blur,
    Colour,
    Degradation,
    Floats,
    OfPair,
    Resample,
    Sharpening,
    affine,
    draw_colour,
    draw_sharpening,
    pick,
    pick_up,
    uniform,
)

Family = Literal["self_blend", "composite", "reconstruct", "labelled"]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""Families of fakes, as :class:`~deepfake_core.contract.recipe.PseudoFakes` names them."""

Change = Literal["resample", "sharpen", "blur", "autoencoder", "none"]
CHANGES: tuple[Change, ...] = get_args(Change)
CHANGE_SHARES = (0.45, 0.15, 0.1, 0.2, 0.1)
"""Shares of what changes in a mismatch beside the colours, in the order of :data:`CHANGES`."""

DETAIL_SHARES: dict[Family, float] = {"self_blend": 0.8, "composite": 0.7, "reconstruct": 1.0, "labelled": 0.7}
"""Share of the pairs of each family whose pictures get the same amount of detail."""

SWAPPED = (72.0, 200.0)
"""Smallest and largest face that a swapper makes, in pixels."""

MASK_SIDE = 80
"""Side of a mask in cells."""

DIRECTIONS = 64
"""Number of half-planes whose intersection stands for a convex hull."""

NORMALS: Floats = np.stack(
    [np.cos(2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS), np.sin(2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS)], 1
).astype(np.float32)
"""Outward normals of the half-planes, ``float32 [DIRECTIONS, 2]``: x and y."""

ABSENT = -9.0
"""Support value of a hull that there is not: no point lies inside."""

BELOW_FOREHEAD = [
    place
    for place in range(len(mesh.POINTS))
    if place not in set(mesh.places((10, 338, 297, 332, 284, 54, 103, 67, 109, 21, 251)))
]

_EYES = mesh.places(mesh.RIGHT_EYE + mesh.LEFT_EYE)
_BROWS = mesh.places(mesh.RIGHT_BROW + mesh.LEFT_BROW)
_NOSE, _LIPS = mesh.places(mesh.NOSE), mesh.places(mesh.LIPS)

PARTS: tuple[tuple[list[int], ...], ...] = (
    (_EYES + _BROWS,),
    (mesh.places(mesh.RIGHT_EYE), mesh.places(mesh.LEFT_EYE)),
    (mesh.places(mesh.RIGHT_EYE + mesh.RIGHT_BROW),),
    (mesh.places(mesh.LEFT_EYE + mesh.LEFT_BROW),),
    (_NOSE,),
    (_LIPS,),
    (_NOSE + _LIPS,),
    (_EYES + _BROWS, _NOSE),
    (_EYES + _NOSE + _LIPS,),
)
"""Parts of the face that retouching and reenactment replace; each list of landmarks is one convex hull."""

_SHAPES = ((list(range(len(mesh.POINTS))),), (BELOW_FOREHEAD,), *PARTS)
# Landmarks of the two hulls of each shape, filled up with the first landmark; the weights of the landmarks in their
# centres; and whether a hull is there.
_HULLS = np.zeros((len(_SHAPES), 2, len(mesh.POINTS)), np.intp)
_MEANS = np.zeros((len(_SHAPES), 2, len(mesh.POINTS)), np.float32)
_THERE = np.zeros((len(_SHAPES), 2), bool)
for _shape, _parts in enumerate(_SHAPES):
    for _hull, _rows in enumerate(_parts):
        _HULLS[_shape, _hull] = _rows[0]
        _HULLS[_shape, _hull, : len(_rows)] = _rows
        _MEANS[_shape, _hull, _rows] = 1 / len(_rows)
        _THERE[_shape, _hull] = True

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""Opacities of a self-blend, one of which is drawn (arXiv 2204.08376, section 3.1)."""


@dataclass(frozen=True)
class Mask:
    """Masks of blends, made on a grid of :data:`MASK_SIDE` × :data:`MASK_SIDE` cells.

    A point p lies ``d = max over hulls of (min over k of (support[k] - NORMALS[k]·p))`` inside of the nearest edge. The
    hard mask at the centre q of a cell is ``clip(0.5 + d·MASK_SIDE/2, 0, 1)`` at p = q + the elastic displacement at q;
    an edge is thus one cell wide. Then: blur by ``first``; 1 where the value is at least ``threshold``, else 0; blur by
    ``second``; division by the mask's maximum; times ``strength``. Beyond the grid, a mask is 0.

    Attributes:
        support: Support values of one or two hulls, ``float32 [n, 2, DIRECTIONS]``;
            :data:`ABSENT` for a hull that there is not.
        elastic: Displacement in x and y at the cells of a 7 × 7 grid, ``float32 [n, 2, 7, 7]`` as [n, axis, row,
            column]; resized to all cells by ``bicubic``.
        first: Sigma of the first blur in cells, ``float32 [n]``.
        threshold: ``float32 [n]``; 0 leaves out this step, for parts of a face.
        second: Sigma of the second blur in cells, ``float32 [n]``.
        hardness: ``float32 [n]``, at least 1: a mask m, once resized to the picture, becomes
            ``clip(0.5 + hardness·(m - 0.5), 0, 1)`` there, so that an edge can be narrower than a cell.
        strength: Opacity of the blend, ``float32 [n]``.
    """

    support: Floats
    elastic: Floats
    first: Floats
    threshold: Floats
    second: Floats
    hardness: Floats
    strength: Floats

    @property
    def radius(self) -> int:
        """Radius of both kernels in cells, the same for all n masks."""
        return int(np.ceil(3 * max(self.first.max(), self.second.max())))


@dataclass(frozen=True)
class Mismatch:
    """Change of the source or of the target of a blend, so that their statistics differ, in the order of attributes.

    Attributes:
        of: The picture that changes.
        colour: Change of its colours.
        resample: Resizing to a smaller side and back, or ``None``.
        sharpening: Sharpening, or ``None``.
        blur: Blur, or ``None``.
    """

    of: Literal["source", "target"]
    colour: Colour
    resample: Resample | None = None
    sharpening: Sharpening | None = None
    blur: Blur | None = None


@dataclass(frozen=True)
class Swapper:
    """What a face swapper leaves of a face: it works at few pixels, enlarges the result, and may sharpen it.

    Attributes:
        resample: Resizing to its side and back; ``None`` where an autoencoder stands for the swapper.
        sharpening: Sharpening of the result, or ``None``.
    """

    resample: Resample | None
    sharpening: Sharpening | None


@dataclass(frozen=True)
class Blend:
    """A blend: ``round(mask·source + (1 - mask)·target)``; the target is the real picture of the pair.

    The source is the stored crop ``others`` of the chunk, or its reconstruction by the chunk's autoencoder. It is
    moved, then matched in colour, then changed if the mismatch is that of the source, then reduced by the swapper.

    In the family ``labelled`` it is the other way round: a part of the real picture, the source, is blended into the
    labelled fake, the target. Cells of the evidence that are real for the most part are then known to be so.

    Attributes:
        move: Affine maps ``float32 [n, 2, 3]`` from the target to the source; bilinear, reflected with the pixel at the
            edge (``cv2.BORDER_REFLECT``).
        matched: Whether the source gets the target's mean and spread of each channel where the mask, before its
            strength, is above 0.5, ``bool [n]``. The factor of the spread is limited to 0.6 … 1.6.
        mismatch: Change of the source or of the target; ``None`` for none.
        swapper: Low resolution of the sources; ``None`` leaves them as they are.
        mask: Masks; resized to the stored crop by ``bilinear``.
    """

    move: Floats
    matched: NDArray[np.bool_]
    mismatch: Mismatch | None
    swapper: Swapper | None
    mask: Mask


@dataclass(frozen=True)
class Chunk:
    """All that is random about n pairs of one family.

    Attributes:
        family: Family of the fakes.
        size: Side of the pictures in pixels.
        cells: Side of the masks of the result in cells.
        rows: Rows of the real pictures, which are the targets of blends, ``intp [n]``.
        others: ``intp [n]``: rows of the sources of blends (``rows`` for self-blends), of labelled fakes, or of the
            faces that are reconstructed (``rows``).
        autoencoder: Index of the autoencoder that reconstructs ``others``; ``None`` where they stay as they are.
        blend: The blend of the families ``self_blend`` and ``composite``, and of some chunks of ``labelled``; ``None``
            for others.
        degradation: Chain for both pictures of each pair.
    """

    family: Family
    size: int
    cells: int
    rows: NDArray[np.intp]
    others: NDArray[np.intp]
    autoencoder: int | None
    blend: Blend | None
    degradation: Degradation

    def __len__(self) -> int:
        return len(self.rows)


def support_of(points: Floats) -> Floats:
    """Return the support values ``float32 […, DIRECTIONS]`` of the convex hulls of points ``float32 […, P, 2]``."""
    return np.asarray((points @ NORMALS.T).max(-2))


def draw_mask(rng: np.random.Generator, points: Floats, *, parts: float, faded: bool) -> Mask:
    """Draw masks of n faces.

    Args:
        rng: Generator that decides them.
        points: Landmarks ``float32 [n, P, 2]`` in [-1, 1] of the crop.
        parts: Share of masks that cover a part of the face only.
        faded: Whether the source is the target's own face: the opacity is drawn from :data:`STRENGTHS`, and some masks
            go beyond the face, as those of swappers do. The opacity is 1 otherwise.
    """
    n = len(points)
    part = rng.random(n) < parts
    # Two of the masks of whole faces cover all of the face, one leaves out the forehead, and one is smaller. Two that
    # may come with them are larger: one of the shape of the face, and one that is a rectangle.
    whole, kind = rng.integers(6 if faded else 4, size=n), rng.integers(len(PARTS), size=n)
    grow = np.where(part, np.where(rng.random(n) < 0.5, 1.15, 1.5), np.array([1, 1, 1, 0.8, 1.2, 1.05])[whole])
    hulls = np.where(part, 2 + kind, whole == 2)
    scale, shift = uniform(rng, 0.93, 1.07, n), rng.uniform(-0.03, 0.03, (n, 2))
    elastic = rng.standard_normal((n, 2, 7, 7), np.float32)
    elastic *= (uniform(rng, 0, 1, n) * np.where(part, 0.025, 0.05).astype(np.float32))[:, None, None, None]
    first = np.where(part, uniform(rng, 0.3, 1.3, n), uniform(rng, 0.6, 3.5, n))
    threshold = np.where(part, np.float32(0), uniform(rng, 0.3, 0.9, n))
    second = np.where(part, uniform(rng, 0.2, 1.3, n), uniform(rng, 0.2, 5, n))
    # A third of the edges are harder than the cells allow.
    hardness = np.where(rng.random(n) < 1 / 3, uniform(rng, 1, 5, n), np.float32(1))
    strength = rng.choice(STRENGTHS, n).astype(np.float32) if faded else np.ones(n, np.float32)
    support = _hulls(points, hulls, ~part & (whole == 5), grow, scale, shift)
    return Mask(support, elastic, first, threshold, second, hardness, strength)


def _hulls(
    points: Floats,
    hulls: NDArray[np.intp],
    boxes: NDArray[np.bool_],
    grow: NDArray[np.float64],
    scale: Floats,
    shift: NDArray[np.float64],
) -> Floats:
    """Return the support values ``float32 [n, 2, DIRECTIONS]`` of the hulls of n faces.

    Args:
        points: Landmarks ``float32 [n, P, 2]``.
        hulls: Which hulls, ``intp [n]``: a place in :data:`_HULLS`.
        boxes: Whether the rectangles around the hulls stand in their place, ``bool [n]``.
        grow: Factor by which each hull grows around its own centre, ``float64 [n]``.
        scale: Factor by which both then grow around the centre of the face, ``float32 [n]``.
        shift: Shift of both, ``float64 [n, 2]``.
    """
    chosen = np.take_along_axis(points[:, None], _HULLS[hulls][..., None], 2)
    centre = _MEANS[hulls] @ points
    # The support value of a hull that is scaled around a point c is that of the hull, scaled, plus that of c.
    around = points.mean(1) * (1 - scale)[:, None] + shift
    low, high = chosen.min(2), chosen.max(2)
    rectangle = ((low + high) @ NORMALS.T + (high - low) @ np.abs(NORMALS).T) / 2
    support = np.where(boxes[:, None, None], rectangle, support_of(chosen))
    grown = grow[:, None, None] * support + (1 - grow)[:, None, None] * (centre @ NORMALS.T)
    support = scale[:, None, None] * grown + (around @ NORMALS.T)[:, None]
    return np.where(_THERE[hulls][..., None], support, ABSENT).astype(np.float32)


def draw_mismatch(rng: np.random.Generator, n: int, of: Literal["source", "target"], kind: Change) -> Mismatch:
    """Draw n changes of one kind.

    Args:
        rng: Generator that decides them.
        n: Number of pairs.
        of: Picture that changes.
        kind: What changes beside the colours.
    """
    colour = draw_colour(rng, n, strong=False)
    if kind == "resample":
        scale = float(rng.uniform(0.22, 0.75))
        down = pick(rng, "nearest", "area", "bilinear", "bicubic")
        # Very small pictures are not enlarged by the nearest pixel: their blocks would be seen at once.
        up = pick(rng, "bilinear", "bicubic", "nearest") if scale > 0.45 else pick_up(rng)
        return Mismatch(of, colour, resample=Resample(scale, down, up))
    if kind == "sharpen":
        return Mismatch(of, colour, sharpening=draw_sharpening(rng, n, 0.3, 1.4))
    if kind == "blur":
        return Mismatch(of, colour, blur=Blur(uniform(rng, 0.4, 1.5, n)))
    return Mismatch(of, colour)


def draw_swapper(rng: np.random.Generator, n: int, face: float, *, reconstructed: bool) -> Swapper:
    """Draw what swappers leave of n faces.

    Args:
        rng: Generator that decides it.
        n: Number of pairs.
        face: Longer side of a face in pixels of the stored crop.
        reconstructed: Whether an autoencoder stands for the swapper, whose result is sharpened.
    """
    resample = None
    if not reconstructed:
        scale = min(float(np.exp(rng.uniform(*np.log(SWAPPED)))) / face, 0.95)
        resample = Resample(scale, pick(rng, "area", "bilinear", "bicubic"), pick_up(rng))
    sharpening = draw_sharpening(rng, n, 0.3, 1.5) if reconstructed or rng.random() < 0.5 else None
    return Swapper(resample, sharpening)


def draw_detail(rng: np.random.Generator, family: Family) -> OfPair | None:
    """Draw which picture of the pairs of a family gets the other one's amount of detail, if any."""
    if rng.random() >= DETAIL_SHARES[family]:
        return None
    # A reconstruction may have lost too much detail to get it back.
    return "real" if rng.random() < (0.7 if family == "reconstruct" else 0.5) else "fake"


def draw_change(rng: np.random.Generator) -> Change:
    """Draw the kind of a mismatch."""
    return CHANGES[int(rng.choice(len(CHANGES), p=CHANGE_SHARES))]


def draw_move(rng: np.random.Generator, n: int) -> Floats:
    """Draw the small moves of the sources of self-blends, ``float32 [n, 2, 3]``."""
    shift = rng.uniform(-1, 1, (n, 2)) * (0.06, 0.03)  # 3 % and 1.5 % of the side
    return affine(uniform(rng, 0.95, 1.05, n), uniform(rng, -0.04, 0.04, n), shift.astype(np.float32))


def aligned(targets: Floats, donors: Floats) -> Floats:
    """Return the affine maps ``float32 [n, 2, 3]`` that take landmarks to those of donors, by least squares.

    Args:
        targets: ``float32 [n, P, 2]``.
        donors: ``float32 [n, P, 2]``.
    """
    ones = np.ones((*targets.shape[:2], 1))
    known = np.concatenate([targets.astype(np.float64), ones], 2)
    squared = known.transpose(0, 2, 1) @ known
    maps = np.linalg.solve(squared, known.transpose(0, 2, 1) @ donors.astype(np.float64))
    return maps.transpose(0, 2, 1).astype(np.float32)
