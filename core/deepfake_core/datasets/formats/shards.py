"""WebDataset shards: tar archives in which the files with one stem are one sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.archives import Member, members, read_member
from deepfake_core.datasets.cells import persons, text
from deepfake_core.datasets.files import MEDIA_SUFFIXES, files_below
from deepfake_core.datasets.labels import LABELS, LabelReader, split_of
from deepfake_core.datasets.listing import Listing, state_of
from deepfake_core.errors import TrainingDataError

_ENDINGS = (".tar", ".tar.gz", ".tgz")
_NOTES = ("json", "cls", "txt")
_NOTE_BYTES = 1 << 20


class Shards(Dataset):
    """Tar archives with ``key.jpg`` beside ``key.json``, ``key.cls`` or ``key.txt``, which contains its label.

    A JSON object may have the fields ``label``, ``source``, ``group``, ``split``, ``identities`` and ``frame``; the
    other two files contain only the label. By default the source is the name of the root and each key is a group of its
    own. In an uncompressed archive only headers and labels are read, and :attr:`Sample.span
    <deepfake_core.datasets.Sample.span>` gives the place of each image. Compressed archives (``.tar.gz``) are cheap to
    :meth:`stream` and slow to :meth:`read`.

    Args:
        root: Archive, or a folder of archives.
        labels: Map from a label to 1 for fake or 0 for real; by default it contains only the words ``real`` and
            ``fake``.
    """

    def __init__(self, root: str | Path, labels: Mapping[str, int] = LABELS) -> None:
        super().__init__(root)
        self.labels = dict(labels)
        self._listing = Listing()

    @classmethod
    def recognises(cls, root: Path) -> bool:
        if root.is_dir():
            return not (root / "store.json").exists() and any(root.glob("*.tar"))
        return root.name.lower().endswith(_ENDINGS)

    def __iter__(self) -> Iterator[Sample]:
        return self._listing.samples(state_of(self._files()), self._samples(with_bytes=False))

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        return self._listing.remembering(state_of(self._files()), self._samples(with_bytes=True))

    def read(self, sample: Sample) -> Path | bytes:
        return super().read(sample) if sample.span else read_member(sample.path, sample.member)

    def _files(self) -> list[Path]:
        return [self.root] if self.root.is_file() else [path for path in files_below(self.root) if _is_archive(path)]

    def _samples(self, *, with_bytes: bool) -> Iterator[tuple[Sample, bytes]]:
        files = self._files()
        if not files:
            raise TrainingDataError(f"{self.root}: no .tar archives; name one, or a folder of them")
        source = self.root.resolve().name.partition(".")[0]
        read = LabelReader(self.labels, self.advised)
        empty = True
        for file in files:
            for record in _records(file, with_bytes=with_bytes):
                if record.picture:
                    empty = False
                    yield self._sample(file, record, source, read), record.content
                elif record.notes and not record.others:
                    raise TrainingDataError(f"{file}: {record.key!r} has a label and no picture; remove it")
        if empty:
            raise TrainingDataError(f"{self.root}: no pictures or videos in {len(files)} archives")

    def _sample(self, file: Path, record: _Record, root: str, read: LabelReader) -> Sample:
        where = f"{file}: {record.key!r}"
        facts = _facts(record, where)
        if "label" not in facts:
            raise TrainingDataError(f"{where}: has no label; add {record.key}.json or {record.key}.cls")
        source = text(facts.get("source"), root)
        # The folder is part of the group's name, because archives in two folders may have one name.
        inner = file.relative_to(self.root if self.root.is_dir() else self.root.parent).with_suffix("").as_posix()
        assert record.picture is not None
        is_fake, label = read(facts["label"], where)
        return Sample(
            file,
            is_fake,
            source,
            text(facts.get("group"), f"{source}/{inner}/{record.key}"),
            split_of(text(facts.get("split")), where),
            persons(facts.get("identities")),
            record.picture.span,
            record.picture.name,
            facts.get("frame", -1),
            label,
        )


@dataclass(slots=True)
class _Record:
    """The files of one key.

    Attributes:
        key: Path of the files within the archive, without their endings.
        picture: Image or video, if there is one.
        content: Bytes of the image or video, if they were read.
        notes: Content of the files that may contain the label, by their ending.
        others: Whether the key has further files.
    """

    key: str
    picture: Member | None = None
    content: bytes = b""
    notes: dict[str, bytes] = field(default_factory=dict)
    others: bool = False


def _records(file: Path, *, with_bytes: bool) -> Iterator[_Record]:
    """Yield the neighbouring members that share a key.

    As in WebDataset, the key is the path up to the first dot of the file name.
    """
    record: _Record | None = None
    for member in members(file):
        folder, slash, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        ending = ending.lower()
        if not stem:
            continue
        key = (folder + slash + stem).removeprefix("./")
        if record is None or record.key != key:
            if record is not None:
                yield record
            record = _Record(key)
        if f".{ending.rpartition('.')[2]}" in MEDIA_SUFFIXES:
            if record.picture is not None:
                raise TrainingDataError(f"{file}: {key!r} has two pictures or comes twice; give each a key of its own")
            record.picture = member
            if with_bytes:
                record.content = member.read()
        elif ending in _NOTES:
            if member.size > _NOTE_BYTES:
                raise TrainingDataError(f"{file}: {member.name!r} is no label, it has {member.size} bytes")
            record.notes[ending] = member.read()
        else:
            record.others = True
    if record is not None:
        yield record


def _facts(record: _Record, where: str) -> dict[str, Any]:
    """Return the fields that the files beside the image contain."""
    facts: dict[str, Any] = {}
    try:
        if "json" in record.notes:
            facts = json.loads(record.notes["json"])
            if not isinstance(facts, dict):
                facts = {"label": facts}
        for ending in ("cls", "txt"):
            if "label" not in facts and ending in record.notes:
                facts["label"] = record.notes[ending].decode().strip()
        if not isinstance(facts.get("frame", -1), int):
            raise ValueError("frame must be an integer")
    except ValueError as error:
        raise TrainingDataError(f"{where}: cannot be read ({error}); write it again") from error
    return facts


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith(_ENDINGS)
