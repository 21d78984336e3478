"""Meaning of a dataset's own labels, splits and names. Every meaning comes from an explicit map and none is guessed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from deepfake_core.errors import TrainingDataError

if TYPE_CHECKING:
    from deepfake_core.datasets.dataset import Sample

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

TRUTH_COLUMNS: Mapping[str, bool] = MappingProxyType({"is_fake": True, "fake": True, "is_real": False, "real": False})
"""Map from the name of a column, in any case, to whether a yes (1, true) in it means fake: the name says it."""

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
# Pairs of yes and no. In one dataset a yes means fake, in another real, so that neither has a meaning of its own.
_PAIRS = (("1", "0"), ("1.0", "0.0"), ("True", "False"), ("yes", "no"), ("t", "f"), ("y", "n"))
# A sequence of frames of a FaceForensics++ video is named METHOD_TARGET[_DONOR]_PART.
_SEQUENCE = re.compile(r"[A-Za-z0-9]+_(\d{3})(?:_(\d{3}))?_\d+")
# In Celeb-DF, idA_NNNN is real, and idA_idB_NNNN shows the face of B on A.
_CELEB = re.compile(r"(id\d+)_(?:(id\d+)_)?\d+")
# In FaceForensics++, an original is named TARGET and a face swap TARGET_DONOR.
_VIDEO = re.compile(r"(\d{3})(?:_(\d{3}))?")
# In DeepFakeDetection, whose persons are actors, NN__SCENE is an original and NN_NN__SCENE__CODE a face swap.
_ACTORS = re.compile(r"(\d{2})(?:_(\d{2}))?__\w+")


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


def meaning_of(value: object, labels: Mapping[str, int], where: str, advised: Callable[..., str] | None = None) -> bool:
    """Return whether a dataset's label means fake.

    Args:
        value: The dataset's own label. It is looked up as text, first exactly, then in any case.
        labels: Map from a label to 1 for fake or 0 for real.
        where: Name of the place in an error message: the file, with the row or the key.
        advised: Function that writes the address of the dataset with other options
            (:meth:`Dataset.advised <deepfake_core.datasets.Dataset.advised>`), if it has the option ``labels``.

    Raises:
        TrainingDataError: The map does not contain the label. The message says how to state what the label means.
    """
    text = str(value).strip()
    is_fake = known_meaning(text, labels)
    if is_fake is not None:
        return is_fake
    known = ", ".join(f"{name}:{'fake' if fake else 'real'}" for name, fake in labels.items()) or "empty"
    problem = f"{where}: label {text!r} is not in the label map ({known})"
    if advised is None:
        raise TrainingDataError(f"{problem}; correct it")
    problem += "; correct it, or say what every label means by labels=VALUE:fake,VALUE:real"
    pair = next((pair for pair in _PAIRS if text.casefold() in map(str.casefold, pair)), None)
    if pair is None or any(known_meaning(part, labels) is not None for part in pair):
        raise TrainingDataError(f"{problem}: {advised(labels='VALUE:fake,VALUE:real')}")
    yes, no = pair
    raise TrainingDataError(
        f"{problem}. In some datasets {yes} means fake, in others real: if it means fake here, write "
        f"{advised(labels=f'{yes}:fake,{no}:real')}; if it means real, write {advised(labels=f'{yes}:real,{no}:fake')}"
    )


class LabelReader:
    """Reader of the labels of one column or file. Each label is looked up once and remembered.

    Args:
        labels: Map from a label to 1 for fake or 0 for real.
        advised: See :func:`meaning_of`.
        column: Name of the column. Where the map is :data:`LABELS` and the name is one of :data:`TRUTH_COLUMNS`, yes
            and no (1 and 0, true and false) are understood too.
    """

    def __init__(self, labels: Mapping[str, int], advised: Callable[..., str] | None = None, column: str = "") -> None:
        says_fake = TRUTH_COLUMNS.get(column.casefold())
        if says_fake is not None and dict(labels) == dict(LABELS):
            pairs = {yes: int(says_fake) for yes, _ in _PAIRS} | {no: int(not says_fake) for _, no in _PAIRS}
            labels = {**LABELS, **pairs}
        self.labels, self._advised = labels, advised
        self._known: dict[str, tuple[bool, str]] = {}

    def __call__(self, value: object, where: str) -> tuple[bool, str]:
        """Return whether a label means fake, and the label as text.

        Raises:
            TrainingDataError: The map does not contain the label.
        """
        text = str(value).strip()
        if text not in self._known:
            self._known[text] = meaning_of(text, self.labels, where, self._advised), text
        return self._known[text]


def label_column(columns: Iterable[str], where: str, advised: Callable[..., str]) -> str:
    """Return the column that holds the labels: ``label``, or else the only one of :data:`TRUTH_COLUMNS`.

    Args:
        columns: Names of all columns.
        where: Name of the file in an error message.
        advised: Function that writes the address of the dataset with other options.

    Raises:
        TrainingDataError: Several columns could be it.
    """
    found = {name.casefold(): name for name in columns if name.casefold() in {"label", *TRUTH_COLUMNS}}
    if "label" in found or not found:
        return found.get("label", "label")
    if len(found) > 1:
        first = next(iter(found.values()))
        raise TrainingDataError(
            f"{where}: columns {' and '.join(map(repr, found.values()))} could be the label; choose: "
            f"{advised(label=first)}"
        )
    return next(iter(found.values()))


def counted(samples: Iterable[Sample]) -> Counter[tuple[str, bool]]:
    """Return the number of samples of each label and meaning: ``(label, is_fake)`` → number."""
    return Counter((sample.label, sample.is_fake) for sample in samples)


def labels_read(counts: Mapping[tuple[str, bool], int]) -> str:
    """Describe how labels were read: ``labels: '0' → real (10), '1' → fake (12)``.

    Args:
        counts: Number of samples of each label and meaning, see :func:`counted`.
    """
    parts = [
        f"{f'{label!r} → ' if label else ''}{'fake' if is_fake else 'real'} ({count:,})"
        for (label, is_fake), count in sorted(counts.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    return f"labels: {some(parts, 20)}" if parts else "labels: none"


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

    In DeepFakeDetection, ``01_02__walking__ABC`` shows two actors.

    The result is empty for any other name.
    """
    match = next(filter(None, (form.fullmatch(name) for form in (_CELEB, _VIDEO, _SEQUENCE, _ACTORS))), None)
    return tuple(person for person in match.groups() if person) if match else ()


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first of many names for a message, ``most`` at most, with the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
