"""Protect pictures by a small perturbation, which disturbs programs that manipulate faces.

A protector, which a plugin offers, computes the perturbation of a face at the input size of its network. All else is
done here: the position of the faces, the full resolution of the picture, the bound, the mark that protected faces
carry, colour modes and files.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError, InputError
from deepfake_core.inputs.crop import crop_square, prepare_crop
from deepfake_core.inputs.decode import decode, in_memory, one_line, stored_picture, turned_back
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.protect.check import check_not_fake
from deepfake_core.protect.field import add_resized, fading
from deepfake_core.protect.image_metrics import psnr, ssim
from deepfake_core.protect.marking import add_marks, carries_mark
from deepfake_core.runtimes.torch_side import install_of
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import FaceCrop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.inputs.boxes import Box
    from deepfake_core.inputs.decode import PictureSource

EPSILON = 0.03
"""Largest change of a pixel's channel by default, in units of the pixel range [0, 1]."""

# Share of the bound that is kept free for the mark.
_MARK_SHARE = 1 / 3
# Number of faces whose perturbation is computed at a time, which limits memory.
_BATCH = 16
# Settings that lose as little as the format allows.
_FORMATS: dict[str, dict[str, Any]] = {
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".png": {"format": "PNG"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
    ".bmp": {"format": "BMP"},
}


class Protector(ABC):
    """Computation of the perturbation that protects a face; the class is constructed without arguments."""

    @abstractmethod
    def perturbation(self, detector: LoadedDetector, crops: NDArray[np.uint8], epsilon: float) -> NDArray[np.float32]:
        """Compute the perturbation of N crops.

        Args:
            detector: Detector whose network computes the perturbation.
            crops: Crops of faces ``uint8 [N, H, W, 3]`` RGB, at the size of the network's input.
            epsilon: Bound of the perturbation, for pixels in [0, 1].

        Returns:
            Perturbation ``float32 [N, H, W, 3]`` within ±epsilon, which is to be added to pixels in [0, 1].

        Raises:
            DeepfakeError: The detector does not have what this protector needs.
        """


def load_protector(detector: LoadedDetector) -> Protector:
    """Construct the protector that the plugin of a detector offers.

    Raises:
        DeepfakeError: No plugin offers a protector for this detector.
        MissingExtra: A package that the protector needs is not installed.
    """
    name = detector.manifest.architecture
    known = plugins.protectors()
    if name not in known:
        offered = f"protectors are {', '.join(known)}" if known else "none is installed; run: pip install deepfake-unet"
        raise DeepfakeError(f"detector {name!r} is no protector; {offered}")
    protector: Protector = plugins.import_object(known[name].spec.protector, install=install_of(detector.spec))()
    return protector


def protect(
    detector: LoadedDetector,
    source: PictureSource,
    epsilon: float = EPSILON,
    *,
    save: str | os.PathLike[str] | None = None,
    reason: str = "",
    max_pixels: int | None = None,
) -> Image.Image:
    """Add a small perturbation to a picture, which disturbs programs that manipulate its faces.

    Every face is protected at the full resolution of the picture. If no face is found, the picture is protected as a
    whole. Size, colour mode, transparency, EXIF data and colour profile are kept; a picture with a palette becomes RGB.

    The perturbation changes what detectors see as well. A face that an installed detector calls fake is therefore
    refused, and protected faces carry a mark: detectors of this project read it and do not judge them.

    Args:
        detector: Detector whose plugin offers a protector.
        source: Path, bytes of a file, array ``uint8 [H, W, 3]`` RGB, or PIL image.
        epsilon: Largest change of any channel of a pixel, in units of the pixel range: at most ``floor(255 · epsilon)``
            levels.
        save: File to which the picture is also written, with EXIF data and colour profile. The bound holds for the
            returned picture and for lossless files; JPEG changes the pixels further.
        reason: Reason to protect the picture whatever detectors say, such as that you took the photograph. By default,
            a picture with a face that is called fake is refused.
        max_pixels: Most pixels that are decoded of a file; larger ones are refused, because all pixels are needed. By
            default 64 million, or what ``DEEPFAKE_MAX_PIXELS`` says.

    Returns:
        The protected picture. Its ``info["protection"]`` holds ``psnr_db`` and ``ssim`` against the original,
        ``epsilon``, the number of ``faces``, how many of them are ``marked`` so that they can be recognised as
        protected, the results of the detectors that ``checked`` the picture (name, verdict and P(fake) of each), the
        ``reason``, and the status of the ``weights``.

    Raises:
        DeepfakeError: No plugin offers a protector for the detector, epsilon is not in (0, 1] or less than one level,
            or ``save`` is the source itself or a format that cannot hold the picture.
        InputError: The source cannot be read, or has a face that an installed detector calls fake; the message names
            it.
    """
    if save is not None:
        check_target(source, save)
    image = _protected(load_protector(detector), detector, source, epsilon, reason, max_pixels)
    if save is not None:
        save_picture(image, save)
    return image


def _protected(
    protector: Protector,
    detector: LoadedDetector,
    source: PictureSource,
    epsilon: float,
    reason: str,
    max_pixels: int | None,
) -> Image.Image:
    most = levels(epsilon)
    name, source = in_memory(source)
    if isinstance(source, str | bytes) and is_video(source):
        raise InputError(name, "is a video or an animation, and only still pictures are protected")
    stored, orientation = stored_picture(source, max_pixels=max_pixels)
    picture = decode(source, max_pixels=max_pixels)
    prepared = detector.prepare(picture.pixels)
    if prepared.error:
        raise InputError(name, prepared.error)
    checked = check_not_fake(detector, picture.pixels, name, reason)
    boxes = [face.box for face in prepared.faces if isinstance(detector.manifest.preprocess.crop, FaceCrop)]
    field = change_of(protector, detector, picture.pixels, boxes, prepared.crops, epsilon)
    if stored.mode in ("1", "L", "LA") or stored.mode.startswith("I;16"):
        field[:] = field.mean(axis=2, keepdims=True)
    change = np.clip(np.round(255 * field), -most, most).astype(np.int16)
    after = np.clip(picture.pixels + change, 0, 255).astype(np.uint8)
    image = _changed(stored, turned_back(change, orientation), name)
    image.info = {
        **stored.info,
        "protection": {
            "psnr_db": psnr(picture.pixels, after),
            "ssim": ssim(picture.pixels, after),
            "epsilon": epsilon,
            "faces": len(boxes),
            "marked": sum(carries_mark(after, box) for box in boxes),
            "checked": checked,
            "reason": reason,
            "weights": detector.manifest.weights,
        },
    }
    return image


def change_of(
    protector: Protector,
    detector: LoadedDetector,
    pixels: NDArray[np.uint8],
    boxes: Sequence[Box],
    crops: NDArray[np.uint8],
    epsilon: float,
) -> NDArray[np.float32]:
    """Return the change that protects a picture: perturbations of its faces, and their marks.

    Args:
        protector: Computation of the perturbation.
        detector: Detector whose network computes it.
        pixels: Picture, ``uint8 [H, W, 3]`` RGB.
        boxes: Boxes of its faces, in pixels; where there are none, the whole picture is perturbed, and not marked.
        crops: Crops of the faces, ``uint8 [n, h, w, 3]`` RGB, as the detector takes them.
        epsilon: Bound of the change, for pixels in [0, 1].

    Returns:
        ``float32 [H, W, 3]``, to be added to pixels in [0, 1]. Where it exceeds the bound, it is to be cut off.
    """
    height, width = pixels.shape[:2]
    spec = detector.manifest.preprocess
    squares = [_rectangle(box, spec.crop) for box in boxes if isinstance(spec.crop, FaceCrop)]
    bound = epsilon * (1 - _MARK_SHARE) if squares else epsilon
    crops = crops if squares else prepare_crop(pixels, None, spec)[None]
    parts = (crops[start : start + _BATCH] for start in range(0, len(crops), _BATCH))
    found = np.concatenate([protector.perturbation(detector, part, bound) for part in parts])
    found = np.clip(found, -bound, bound)
    field = np.zeros((height, width, 3), np.float32)
    if squares:
        for change, square in zip(found, squares, strict=True):
            add_resized(field, change * fading(len(change))[..., None], square)
        np.clip(field, -bound, bound, out=field)
        add_marks(field, pixels, boxes, levels(epsilon))
    else:
        add_resized(field, found[0], (0, 0, width, height))
    return field


def levels(epsilon: float) -> int:
    """Return the largest change in levels of an 8-bit picture: ``floor(255 · epsilon)``.

    Raises:
        DeepfakeError: Epsilon is not in (0, 1], or less than one level.
    """
    if not 0 < epsilon <= 1:  # written so that NaN fails
        raise DeepfakeError(f"epsilon must be above 0 and at most 1, got {epsilon}; 0.03 is the default")
    most = math.floor(255 * epsilon + 1e-9)
    if most < 1:
        raise DeepfakeError(f"epsilon {epsilon} is less than one of 255 levels, so nothing would change; use 0.004 up")
    return most


def save_picture(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture atomically, with the EXIF data and the colour profile in its ``info``.

    JPEG is written at quality 95 without chroma subsampling, WebP without loss.

    Args:
        image: Picture to write.
        path: File to write; its suffix is one that :func:`check_target` accepts.

    Raises:
        DeepfakeError: The format cannot hold the colour mode of the picture.
    """
    path = Path(path)
    settings = _FORMATS[path.suffix.lower()]
    kept = {key: image.info[key] for key in ("exif", "icc_profile", "dpi") if image.info.get(key)}
    with atomic_path(path) as temporary:
        try:
            image.save(temporary, **settings, **kept)
        except (OSError, KeyError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = one_line(error)
            raise DeepfakeError(
                f"{path}: {settings['format']} cannot hold this picture ({reason}); use .png"
            ) from error


def check_target(source: PictureSource, target: str | os.PathLike[str]) -> None:
    """Check, before any work, that a picture can and may be written to the target.

    Raises:
        DeepfakeError: The target is the source itself, or its suffix is not that of a supported format.
    """
    target = Path(target)
    if target.suffix.lower() not in _FORMATS:
        raise DeepfakeError(f"{target}: unknown suffix; use one of {', '.join(_FORMATS)}")
    if isinstance(source, str | os.PathLike) and target.exists() and target.samefile(source):
        raise DeepfakeError(f"{target}: is the original, which is never overwritten; name another file")


def output_suffix(source: str) -> str:
    """Return a suffix for a picture from this file: its own one if that format is supported, otherwise ``.png``."""
    suffix = Path(source).suffix
    return suffix if suffix.lower() in _FORMATS else ".png"


def _rectangle(box: Box, spec: FaceCrop) -> tuple[int, int, int, int]:
    left, top, side = crop_square(box, spec)
    return left, top, side, side


def _changed(stored: Image.Image, change: NDArray[np.int16], name: str) -> Image.Image:
    """Add levels ``int16 [H, W, 3]`` to a picture in its own mode; a mode that cannot hold small changes becomes RGB.

    Raises:
        InputError: The pixels of this mode have no fixed range.
    """
    mode = stored.mode
    if mode in ("I", "F"):
        raise InputError(name, f"colour mode {mode} has no fixed range; convert it to RGB first")
    if mode.startswith("I;16"):
        wide = np.asarray(stored).astype(np.int32) + 257 * change[..., 0].astype(np.int32)
        return Image.fromarray(np.clip(wide, 0, 65535).astype(np.uint16))
    if mode == "1":
        stored = stored.convert("L")
    elif mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        stored = stored.convert("RGBA" if stored.has_transparency_data else "RGB")
    values = np.asarray(stored).astype(np.int16)
    if stored.mode == "L":
        values += change[..., 0]
    elif stored.mode == "LA":
        values[..., 0] += change[..., 0]
    elif stored.mode == "CMYK":
        values[..., :3] -= change  # inks darken
    else:
        values[..., :3] += change
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), stored.mode)
