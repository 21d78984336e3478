"""FaceForensics++ (Rössler et al. 2019, arXiv 1901.08971)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.address import Address
from deepfake_core.datasets.files import MEDIA_SUFFIXES, files_below, folders, matching, read_json
from deepfake_core.datasets.labels import SPLITS, some
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.datasets.layouts.manipulations import FOLDERS, MANIPULATIONS
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import has_video_suffix

log = logging.getLogger("deepfake.datasets")

SOURCE = "faceforensics"
COMPRESSIONS = ("raw", "c23", "c40")

_NAME = re.compile(r"(\d{3})(?:_(\d{3}))?")
_PUBLISHED = MANIPULATIONS[:5]
_OTHERS = ("splits", "masks")


class FaceForensics(Dataset):
    """``original_sequences/youtube/c23/videos/000.mp4``, ``manipulated_sequences/Deepfakes/c23/videos/000_003.mp4``, ….

    Mirrors have one folder for each manipulation (``Deepfakes``, ``FaceSwap``, …) beside a folder of originals
    (``original``, ``original_sequences``, ``real`` or ``youtube``). They may hold pictures, too, and folders of them:
    see :class:`~deepfake_core.datasets.layouts.image_folder.ImageFolder`.

    The files ``splits/{train,val,test}.json``, lists of pairs of ids, give the splits; without them there are none. A
    video is a group whose name contains its manipulation. The ids in its name are its identities. Each manipulation is
    a source of its own, ``faceforensics/<manipulation>``; the source of the originals is ``faceforensics``.

    Folders of the published layout other than ``youtube`` and those of its five manipulations are skipped with a
    warning; ``youtube``, and the folders of compressions, may be missing. In a mirror, a folder with pictures or videos
    whose name is not known is an error.

    Args:
        root: Folder that contains ``original_sequences`` and ``manipulated_sequences``, or those of a mirror.
        compression: Version of the videos. A mirror whose folders hold several versions is read in this one.
        manipulations: Names of the manipulations to read; by default all whose folders exist.
    """

    def __init__(
        self,
        root: str | Path,
        compression: Literal["raw", "c23", "c40"] = "c23",
        manipulations: tuple[str, ...] = (),
    ) -> None:
        super().__init__(root)
        unknown = set(manipulations) - set(MANIPULATIONS)
        if unknown:
            raise TrainingDataError(f"no manipulation {min(unknown)!r}; there are {', '.join(MANIPULATIONS)}")
        self.compression = compression
        self.manipulations = manipulations

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return root.is_dir() and ((root / "manipulated_sequences").is_dir() or _is_mirror(root))

    def __iter__(self) -> Iterator[Sample]:
        splits = self._splits()
        if _is_mirror(self.root) and not (self.root / "manipulated_sequences").is_dir():
            yield from self._mirror(splits)
            return
        kinds = {("original_sequences", "youtube"): False}
        kinds |= {("manipulated_sequences", name): True for name in self._manipulations()}
        empty = True
        entered: set[str] = set()
        for (top, name), is_fake in kinds.items():
            folder = self._videos(top, name)
            if not folder.is_dir() and name not in self.manipulations:
                continue
            for path in files_below(folder, entered=entered):
                if has_video_suffix(path):
                    empty = False
                    yield self._video(path, name, is_fake, splits)
        if empty:
            raise TrainingDataError(
                f"{self.root}: no videos of compression {self.compression} below original_sequences/youtube or "
                f"manipulated_sequences; choose another: {self.advised(compression='|'.join(COMPRESSIONS))}"
            )

    def _videos(self, top: str, name: str) -> Path:
        """Return the folder of videos in this compression; without folders of compressions, the folder above them."""
        inner = self.root / top / name
        if name == "youtube" and not inner.is_dir() and not (self.root / top / "actors").is_dir():
            inner = self.root / top
        versions = [version for version in COMPRESSIONS if (inner / version).is_dir()]
        if inner.is_dir() and not versions:
            return inner
        whole = inner / self.compression / "videos"
        return whole if whole.is_dir() or self.compression not in versions else whole.parent

    def _mirror(self, splits: dict[str, str]) -> Iterator[Sample]:
        """Yield the samples of a mirror, of which only the names of the folders are known."""
        mirror = _Mirror(self, {name: FOLDERS[name.lower()] for name in self._mirrored()})
        others: list[str] = []
        empty = True
        for sample in mirror:
            parts = [part.lower() for part in sample.path.relative_to(self.root).parts[1:-1]]
            if ({*COMPRESSIONS} - {self.compression}) & {*parts} or "masks" in parts:
                others.append(sample.path.relative_to(self.root).as_posix())
                continue
            empty = False
            yield replace(sample, split=self._split(sample.path, sample.identities, splits))
        if empty:
            raise TrainingDataError(
                f"{self.root}: no pictures or videos of compression {self.compression}; choose another: "
                f"{self.advised(compression='|'.join(COMPRESSIONS))}"
            )
        if others:
            log.warning(
                "%s: passed over %d files that are masks or not of compression %s: %s",
                self.root, len(others), self.compression, some(others),
            )  # fmt: skip

    def _mirrored(self) -> list[str]:
        """Return the names of a mirror's folders to read."""
        names = [folder.name for folder in folders(self.root) if folder.name.lower() not in _OTHERS]
        known = {name.lower(): name for name in names if name.lower() in FOLDERS}
        if self.manipulations:
            if absent := [name for name in self.manipulations if name.lower() not in known]:
                raise TrainingDataError(f"{self.root}: no folder {absent[0]!r}; there are {', '.join(names)}")
            chosen = {name.lower() for name in self.manipulations}
            return [name for key, name in known.items() if not FOLDERS[key] or key in chosen]
        unknown = sorted(set(names) - set(known.values()))
        if with_media := [name for name in unknown if any(map(_is_media, files_below(self.root / name)))]:
            labels = ",".join(f"{name}:{'fake' if FOLDERS[key] else 'real'}" for key, name in known.items())
            labels += "".join(f",{name}:fake|real" for name in with_media)
            chosen_names = ",".join(name for name in MANIPULATIONS if name.lower() in known)
            raise TrainingDataError(
                f"{self.root}: folder {with_media[0]!r} is neither one of originals nor of a known manipulation; say "
                f'what it means: "{Address("image-folder", str(self.root), {"labels": labels})}", or leave it out: '
                f"{self.advised(manipulations=chosen_names)}"
            )
        if unknown:
            log.warning("%s: passed over %s, which hold no pictures or videos", self.root, some(unknown))
        return list(known.values())

    def _video(self, path: Path, name: str, is_fake: bool, splits: dict[str, str]) -> Sample:
        match = _NAME.fullmatch(path.stem)
        if match is None or is_fake != (match[2] is not None):
            raise TrainingDataError(
                f"{path}: expected the name {'000_003' if is_fake else '000'}.mp4; rename or remove it"
            )
        identities = tuple(f"{SOURCE}/{person}" for person in match.groups() if person)
        source = f"{SOURCE}/{name}" if is_fake else SOURCE
        split = self._split(path, identities, splits)
        return Sample(path, is_fake, source, f"{SOURCE}/{name}/{path.stem}", split, identities, label=name)

    def _split(self, path: Path, identities: tuple[str, ...], splits: dict[str, str]) -> str:
        found = {splits.get(person.rpartition("/")[2], "") for person in identities} or {""}
        if len(found) > 1:
            raise TrainingDataError(
                f"{path}: its two ids are in different splits of {self.root / 'splits'}; correct them"
            )
        return found.pop()

    def _manipulations(self) -> tuple[str, ...]:
        if self.manipulations:
            return self.manipulations
        top = self.root / "manipulated_sequences"
        there = {folder.name for folder in folders(top)} if top.is_dir() else set()
        if others := sorted(there - set(_PUBLISHED)):
            log.warning("%s: passed over %s", top, some(others))
        return tuple(name for name in _PUBLISHED if name in there)

    def _splits(self) -> dict[str, str]:
        """Return the split of each id."""
        splits: dict[str, str] = {}
        for file in matching(self.root / "splits", "*.json"):
            split = SPLITS.get(file.stem, "")
            pairs = read_json(file)
            if not split or not isinstance(pairs, list):
                raise TrainingDataError(f"{file}: expected train, val or test.json, a list of pairs of ids")
            for pair in pairs:
                if not isinstance(pair, list) or not all(isinstance(person, str) for person in pair):
                    raise TrainingDataError(f'{file}: {pair!r} is no pair of ids such as ["071", "054"]')
                for person in pair:
                    if splits.setdefault(person, split) != split:
                        raise TrainingDataError(
                            f"{file}: id {person} is in {splits[person]!r} and in {split!r}; keep one"
                        )
        return splits


class _Mirror(ImageFolder):
    """The folders of a mirror as class folders.

    Args:
        dataset: The dataset as a user named it.
        labels: Map from the name of a folder to read to 1 for fake or 0 for real.
    """

    fakes_are_sources = True

    def __init__(self, dataset: FaceForensics, labels: Mapping[str, int]) -> None:
        super().__init__(dataset.root, labels)
        self.address = dataset.address

    def _name(self) -> str:
        return SOURCE

    def _class_folders(self) -> list[Path]:
        return [folder for folder in folders(self.root) if folder.name in self.labels]


def _is_mirror(root: Path) -> bool:
    """Return whether a folder has a folder of originals beside one of a manipulation."""
    return {FOLDERS.get(folder.name.lower()) for folder in folders(root)} >= {0, 1}


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in MEDIA_SUFFIXES
