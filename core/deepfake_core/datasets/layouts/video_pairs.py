"""Pairs of a real video and a fake made from it, listed in a CSV file beside the videos."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.address import Address
from deepfake_core.datasets.files import exists, inside
from deepfake_core.datasets.labels import some, split_of
from deepfake_core.datasets.layouts.frame_folders import frames
from deepfake_core.datasets.tables import header, rows
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import has_video_suffix

log = logging.getLogger("deepfake.datasets")

_CLASSES = {"real": False, "fake": True}


class VideoPairs(Dataset):
    """A CSV file with the columns ``real`` and ``fake`` beside ``real/<video>/*.jpg`` and ``fake/<video>/*.jpg``.

    Each row names a real video and a fake made from it. A video is a folder of frames below ``real`` or ``fake``, or a
    video file. An optional column ``split`` is used; other columns are ignored. A video that several rows name is
    yielded once. Each video is a group, ``<source>/<class>/<video>``. A fake has the identity of every real video that
    it is paired with, so that all of them stay in one split.

    Args:
        table: CSV file with one pair in each row.
        root: Folder that contains ``real`` and ``fake``; by default the folder of the table.
    """

    def __init__(self, table: str | Path, root: str | Path | None = None) -> None:
        self.table = Path(table)
        super().__init__(root if root is not None else self.table.parent)
        self.address = Address("video-pairs", str(table), {} if root is None else {"root": str(root)})

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return root.suffix.lower() == ".csv" and _CLASSES.keys() <= {name.lower() for name in header(root)}

    def __iter__(self) -> Iterator[Sample]:
        source = self.root.resolve().name
        for (kind, name), video in self._videos().items():
            group, path = f"{source}/{kind}/{name}", self.root / kind / name
            identities = tuple(f"{source}/{real}" for real in video.reals)
            if exists(path) and path.is_dir():
                found = frames(path, _CLASSES[kind], source, group, video.split, identities, kind)
            elif exists(path) and has_video_suffix(path):
                found = iter((Sample(path, _CLASSES[kind], source, group, video.split, identities, label=kind),))
            else:
                raise TrainingDataError(
                    f"{self.table}: row {video.line}: {path} is neither a folder of frames nor a video; correct the "
                    f"row, or say where real/ and fake/ are: {self.advised(root='FOLDER')}"
                )
            empty = True
            for sample in found:
                empty = False
                yield sample
            if empty:
                raise TrainingDataError(f"{self.table}: row {video.line}: {path} holds no pictures; remove the row")

    def _videos(self) -> dict[tuple[str, str], _Video]:
        """Return every video by ``(class, name)``, in the order of the table."""
        videos: dict[tuple[str, str], _Video] = {}
        pairs: set[tuple[str, str]] = set()
        repeated: list[str] = []
        for line, cells in rows(self.table, tuple(_CLASSES), any_case=True):
            where = f"{self.table}: row {line}"
            names = {kind: self._name(cells[kind], kind, where) for kind in _CLASSES}
            split = split_of(cells.get("split", ""), where)
            if (names["real"], names["fake"]) in pairs:
                repeated.append(str(line))
            pairs.add((names["real"], names["fake"]))
            for kind, name in names.items():
                video = videos.setdefault((kind, name), _Video(line, split))
                if video.split != split:
                    raise TrainingDataError(
                        f"{where}: {kind} video {name!r} is in {split or 'no split'!r} here and in "
                        f"{video.split or 'no split'!r} in row {video.line}; keep one"
                    )
                if names["real"] not in video.reals:
                    video.reals.append(names["real"])
        if not videos:
            raise TrainingDataError(f"{self.table}: has no rows; add some pairs")
        if repeated:
            log.warning("%s: %d rows repeat an earlier pair: row %s", self.table, len(repeated), some(repeated))
        return videos

    def _name(self, cell: str, kind: str, where: str) -> str:
        """Return the name of a video below its class folder. A cell may begin with the name of the class folder."""
        name = inside(self.root, cell, where).relative_to(self.root)
        if name.parts[0] == kind and len(name.parts) > 1:
            name = name.relative_to(kind)
        return name.as_posix()


@dataclass(slots=True)
class _Video:
    """One video of the table.

    Attributes:
        line: Line of the first row that names it.
        split: Split of its rows.
        reals: Names of the real videos that it is paired with; of a real video, its own name.
    """

    line: int
    split: str
    reals: list[str] = field(default_factory=list)
