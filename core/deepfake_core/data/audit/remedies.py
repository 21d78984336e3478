"""What each number of the audit is called, and what to do where it tells the classes apart."""

from __future__ import annotations

from typing import NamedTuple

TOGETHER = "all together"
"""Name that stands for all numbers together in place of a single one."""


class Meaning(NamedTuple):
    """What a number is called, and the remedy where it tells the classes apart."""

    called: str
    remedy: str


_SHARPNESS = (
    "draw real faces and fakes that agree in it (pairs.match=sharpness or shortcuts), bring both classes to the same "
    "face size before coding, and blur and sharpen both (augment=degrade)"
)
_CODING = (
    "code the originals of both classes anew in the same way before they are cut, and train with codecs in both "
    "classes (augment=degrade)"
)
_LIGHT = "change colour and light in both classes (augment=standard), or draw pairs that agree (pairs.match=shortcuts)"
_EDGE = "crop tighter (a smaller margin), or cut the border off both classes"
_SIZE = "bring the faces of both classes to the same sizes before they are cut, or take sources of like resolution"
_FRAMING = "frame both classes alike, or crop tighter (a smaller margin) so that the surroundings do not show"

MEANINGS: dict[str, Meaning] = {
    "brightness": Meaning("brightness", _LIGHT),
    "contrast": Meaning("contrast", _LIGHT),
    "clipped": Meaning("black and white pixels", _LIGHT),
    "saturation": Meaning("saturation", _LIGHT),
    "colour_cast": Meaning("colour cast", _LIGHT),
    "grey": Meaning("without colour", "leave pictures without colour out of both classes, or turn both grey"),
    "sharpness_1": Meaning("sharpness, finest octave", _SHARPNESS),
    "sharpness_2": Meaning("sharpness, octave 2", _SHARPNESS),
    "sharpness_3": Meaning("sharpness, octave 3", _SHARPNESS),
    "sharpness_4": Meaning("sharpness, octave 4", _SHARPNESS),
    "colour_detail": Meaning("detail in colour", _CODING),
    "noise": Meaning(
        "noise", "add noise to both classes (augment=degrade), or draw pairs that agree (pairs.match=shortcuts)"
    ),
    "jpeg_grid": Meaning("grid of JPEG blocks", _CODING),
    "background_detail": Meaning("detail near the edge", _FRAMING),
    "border_flat": Meaning("flat border", _EDGE),
    "border_level": Meaning("brightness of border", _EDGE),
    "border_step": Meaning("step at the border", _EDGE),
    "face_px": Meaning("face size", _SIZE),
    "picture_px": Meaning("picture size", _SIZE),
    "aspect": Meaning("aspect ratio of picture", _FRAMING),
    "face_aspect": Meaning("aspect ratio of face box", "leave the source out, or stretch no class before cutting"),
    "face_share": Meaning("share of face in picture", _FRAMING),
    "face_x": Meaning("place of the face, across", _FRAMING),
    "face_y": Meaning("place of the face, down", _FRAMING),
    "outside": Meaning("part beyond the picture", _EDGE),
    "format_jpeg": Meaning("file format JPEG", _CODING),
    "format_png": Meaning("file format PNG", _CODING),
    "format_webp": Meaning("file format WebP", _CODING),
    "jpeg_quality": Meaning("JPEG quality", _CODING),
    "chroma_subsampling": Meaning("chroma subsampling", _CODING),
    "bytes_per_pixel": Meaning("bytes per pixel", _CODING),
    TOGETHER: Meaning(
        TOGETHER,
        "remove the single shortcuts first, or draw pairs that agree (pairs.match=shortcuts); leave out what stays",
    ),
}
"""Name of a number → its meaning."""


def meaning(name: str) -> Meaning:
    """Return what a number is called, and its remedy; one that is unknown here is called by its name."""
    return MEANINGS.get(name, Meaning(name, "treat both classes alike, or choose samples that agree in it"))
