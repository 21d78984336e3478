"""FaceForensics++ (Rössler et al. 2019, arXiv 1901.08971)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.files import files_below, folders, read_json
from deepfake_core.datasets.labels import SPLITS, some
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import has_video_suffix

log = logging.getLogger("deepfake.datasets")

SOURCE = "faceforensics"
MANIPULATIONS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")

_NAME = re.compile(r"(\d{3})(?:_(\d{3}))?")


class FaceForensics(Dataset):
    """``original_sequences/youtube/c23/videos/000.mp4``, ``manipulated_sequences/Deepfakes/c23/videos/000_003.mp4``, ….

    The files ``splits/{train,val,test}.json``, lists of pairs of ids, give the splits; without them there are none. A
    video is a group whose name contains its manipulation. The ids in its name are its identities. Folders other than
    ``youtube`` and those of the five manipulations are skipped.

    Args:
        root: Folder that contains ``original_sequences`` and ``manipulated_sequences``.
        compression: Version of the videos.
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
        return (root / "manipulated_sequences").is_dir()

    def __iter__(self) -> Iterator[Sample]:
        splits = self._splits()
        kinds = {("original_sequences", "youtube"): False}
        kinds |= {("manipulated_sequences", name): True for name in self._manipulations()}
        empty = True
        for (top, name), is_fake in kinds.items():
            folder = self.root / top / name / self.compression / "videos"
            if not folder.is_dir() and name not in self.manipulations:
                continue
            for path in files_below(folder):
                if has_video_suffix(path):
                    empty = False
                    yield self._video(path, name, is_fake, splits)
        if empty:
            raise TrainingDataError(
                f"{self.root}: no videos of compression {self.compression} below original_sequences/youtube or "
                "manipulated_sequences; choose another by compression=raw|c23|c40"
            )

    def _video(self, path: Path, name: str, is_fake: bool, splits: dict[str, str]) -> Sample:
        match = _NAME.fullmatch(path.stem)
        if match is None or is_fake != (match[2] is not None):
            raise TrainingDataError(
                f"{path}: expected the name {'000_003' if is_fake else '000'}.mp4; rename or remove it"
            )
        persons = [person for person in match.groups() if person]
        found = {splits.get(person, "") for person in persons}
        if len(found) > 1:
            raise TrainingDataError(
                f"{path}: its two ids are in different splits of {self.root / 'splits'}; correct them"
            )
        identities = tuple(f"{SOURCE}/{person}" for person in persons)
        return Sample(path, is_fake, SOURCE, f"{SOURCE}/{name}/{path.stem}", found.pop(), identities)

    def _manipulations(self) -> tuple[str, ...]:
        if self.manipulations:
            return self.manipulations
        top = self.root / "manipulated_sequences"
        there = {folder.name for folder in folders(top)} if top.is_dir() else set()
        if others := sorted(there - set(MANIPULATIONS)):
            log.warning("%s: passed over %s", top, some(others))
        return tuple(name for name in MANIPULATIONS if name in there)

    def _splits(self) -> dict[str, str]:
        """Return the split of each id."""
        splits: dict[str, str] = {}
        for file in sorted((self.root / "splits").glob("*.json")):
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
