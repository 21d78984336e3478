"""Results in words, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Mapping

_VERDICTS = {"fake": "fake", "unsure": "unsure", "real": "real", "no_face": "without a face", "error": "error"}


def tally(verdicts: Mapping[str, int], noun: str) -> str:
    """``1,000 files: 12 fake, 3 unsure, 980 real, 5 errors`` for the number of inputs with each verdict."""
    parts = [
        f"{verdicts[verdict]:,} {text}{'s' if verdict == 'error' and verdicts[verdict] > 1 else ''}"
        for verdict, text in _VERDICTS.items()
        if verdicts.get(verdict)
    ]
    return ": ".join(filter(None, (counted(sum(verdicts.values()), noun), ", ".join(parts))))


def faces_in_words(faces: int, frames: int, clips: int = 0, *, scored: bool = True) -> str:
    """Say how many faces of one input were found, and which of their scores counts.

    Args:
        faces: Number of faces.
        frames: Number of frames that were judged; 1 for a picture.
        clips: Number of clips with a face; 0 for a detector of pictures.
        scored: Whether the input has a score.
    """
    said, counts = counted(faces, "face"), "the highest score counts" if faces > 1 else ""
    if clips:
        said, counts = f"{said} in {counted(clips, 'clip')}", "the mean of the highest score in each clip counts"
    elif frames > 1:
        said, counts = f"{said} in {frames:,} frames", "the mean of the highest score in each frame counts"
    return f"{said}, {counts}" if scored and counts else said


def counted(number: int, noun: str) -> str:
    """``1 face`` or ``1,000 faces``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shown_name(source: str) -> str:
    """Return the name of an input, quoted where it holds characters that would control a terminal."""
    return source if source.isprintable() else repr(source)
