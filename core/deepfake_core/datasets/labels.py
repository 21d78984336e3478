"""Meaning of a dataset's own labels, splits and names. Every meaning comes from an explicit map and none is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from deepfake_core.errors import TrainingDataError

LABELS: Mapping[str, int] = MappingProxyType(
    {
        "real": 0,
        "fake": 1,
        "0_real": 0,
        "1_fake": 1,
        "training_real": 0,
        "training_fake": 1,
    }
)
"""Map from a label or the name of a class folder, in any case, to 1 for fake or 0 for real.

It contains the words that mean the same in every dataset.
"""

SPLITS: Mapping[str, str] = MappingProxyType(
    {
        "": "",
        "train": "train",
        "training": "train",
        "valid": "valid",
        "val": "valid",
        "validation": "valid",
        "dev": "valid",
        "test": "test",
        "testing": "test",
    }
)
"""Map from the spellings of a split to ``"train"``, ``"valid"``, ``"test"``, or ``""`` for no split."""

_MEANINGS = {"real": 0, "fake": 1}
# A sequence of frames of a FaceForensics++ video is named METHOD_TARGET[_DONOR]_PART.
_SEQUENCE = re.compile(r"[A-Za-z0-9]+_(\d{3})(?:_(\d{3}))?_\d+")
# In Celeb-DF, idA_NNNN is real, and idA_idB_NNNN shows the face of B on A.
_CELEB = re.compile(r"(id\d+)_(?:(id\d+)_)?\d+")
# In FaceForensics++, an original is named TARGET and a face swap TARGET_DONOR.
_VIDEO = re.compile(r"(\d{3})(?:_(\d{3}))?")


def parse_labels(text: str) -> dict[str, int]:
    """Return the label map that a text describes: ``{"0": 1, "1": 0}`` for ``"0:fake,1:real"``.

    Raises:
        ValueError: The text is not a list of ``VALUE:fake`` and ``VALUE:real``, or gives a value both meanings.
    """
    labels: dict[str, int] = {}
    for part in text.split(","):
        value, colon, meaning = (word.strip() for word in part.rpartition(":"))
        if not colon or not value or meaning not in _MEANINGS:
            raise ValueError(f"{part.strip()!r} is not VALUE:fake or VALUE:real")
        if labels.setdefault(value, _MEANINGS[meaning]) != _MEANINGS[meaning]:
            raise ValueError(f"{value!r} is said to be both real and fake")
    return labels


def known_meaning(text: str, labels: Mapping[str, int]) -> bool | None:
    """Return whether a label means fake, or ``None`` where the map does not contain it in any case."""
    if text in labels:
        return bool(labels[text])
    found = {bool(fake) for name, fake in labels.items() if name.casefold() == text.casefold()}
    return found.pop() if len(found) == 1 else None


def meaning_of(value: object, labels: Mapping[str, int], where: str) -> bool:
    """Return whether a dataset's label means fake.

    Args:
        value: The dataset's own label. It is looked up as text, first exactly, then in any case.
        labels: Map from a label to 1 for fake or 0 for real.
        where: Name of the place in an error message: the file, with the row or the key.

    Raises:
        TrainingDataError: The map does not contain the label.
    """
    text = str(value).strip()
    is_fake = known_meaning(text, labels)
    if is_fake is not None:
        return is_fake
    known = ", ".join(f"{name}:{'fake' if fake else 'real'}" for name, fake in labels.items()) or "empty"
    raise TrainingDataError(
        f"{where}: label {text!r} is not in the label map ({known}); correct it, or say what every label means by "
        "labels=VALUE:fake,VALUE:real"
    )


def split_of(value: object, where: str) -> str:
    """Return the split that a dataset's spelling means.

    Args:
        value: The dataset's own name of the split, in any case.
        where: Name of the place in an error message: the file, with the row or the key.

    Raises:
        TrainingDataError: :data:`SPLITS` does not contain the spelling.
    """
    text = str(value).strip().lower()
    if text not in SPLITS:
        raise TrainingDataError(f"{where}: split {text!r} is none of train, valid and test")
    return SPLITS[text]


def sequence_identities(group: str) -> tuple[str, ...]:
    """Return the persons in a group named like a FaceForensics++ sequence, ``…/METHOD_ID[_ID]_PART``; else none."""
    folder, slash, name = group.rpartition("/")
    match = _SEQUENCE.fullmatch(name)
    return tuple(f"{folder}{slash}{person}" for person in match.groups() if person) if match else ()


def video_identities(name: str) -> tuple[str, ...]:
    """Return the persons in a video named as in Celeb-DF (``id1_id2_0003``) or FaceForensics++ (``000_003``).

    The result is empty for any other name.
    """
    match = _CELEB.fullmatch(name) or _VIDEO.fullmatch(name) or _SEQUENCE.fullmatch(name)
    return tuple(person for person in match.groups() if person) if match else ()


def some(names: Sequence[str]) -> str:
    """Return the first five of many names for a message, with the number of the others."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
