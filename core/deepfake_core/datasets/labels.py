"""What a dataset's own labels, splits and names mean: always an explicit map, never a guess."""

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
"""Words that mean one thing in every dataset, in any case: folder name or label → 1 for fake, 0 for real."""

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
"""Spellings of a split → ``"train"``, ``"valid"``, ``"test"``, or ``""`` for none."""

_MEANINGS = {"real": 0, "fake": 1}
# A sequence of frames cut from FaceForensics++: METHOD_TARGET[_DONOR]_PART.
_SEQUENCE = re.compile(r"[A-Za-z0-9]+_(\d{3})(?:_(\d{3}))?_\d+")
# Celeb-DF: idA_NNNN is real, idA_idB_NNNN shows B's face on A.
_CELEB = re.compile(r"(id\d+)_(?:(id\d+)_)?\d+")
# FaceForensics++: an original is TARGET, a swap is TARGET_DONOR.
_VIDEO = re.compile(r"(\d{3})(?:_(\d{3}))?")


def parse_labels(text: str) -> dict[str, int]:
    """``"0:fake,1:real"`` → ``{"0": 1, "1": 0}``.

    Raises:
        ValueError: The text does not say this.
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
        value: The dataset's own label; compared as text, exactly or else without regard to case.
        labels: Label → 1 for fake, 0 for real.
        where: What to call the place in an error: the file, with the row or the key.

    Raises:
        TrainingDataError: The map does not know the label.
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
    """The split that a dataset's spelling means.

    Raises:
        TrainingDataError: It is none of :data:`SPLITS`.
    """
    text = str(value).strip().lower()
    if text not in SPLITS:
        raise TrainingDataError(f"{where}: split {text!r} is none of train, valid and test")
    return SPLITS[text]


def sequence_identities(group: str) -> tuple[str, ...]:
    """Persons in a group named like a sequence of FaceForensics++, ``…/METHOD_ID[_ID]_PART``; else none."""
    folder, slash, name = group.rpartition("/")
    match = _SEQUENCE.fullmatch(name)
    return tuple(f"{folder}{slash}{person}" for person in match.groups() if person) if match else ()


def video_identities(name: str) -> tuple[str, ...]:
    """Persons in a video named as in Celeb-DF (``id1_id2_0003``) or FaceForensics++ (``000_003``); else none."""
    match = _CELEB.fullmatch(name) or _VIDEO.fullmatch(name) or _SEQUENCE.fullmatch(name)
    return tuple(person for person in match.groups() if person) if match else ()


def some(names: Sequence[str]) -> str:
    """The first names of many, for messages."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
