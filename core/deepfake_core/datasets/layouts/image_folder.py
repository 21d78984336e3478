"""Images and videos in folders whose names are the labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.files import MEDIA_SUFFIXES, files_below, folders
from deepfake_core.datasets.labels import LABELS, SPLITS, known_meaning, sequence_identities, some, video_identities
from deepfake_core.datasets.layouts.manipulations import FOLDERS
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import has_video_suffix

_MANY = 20
"""Number of folders that a message names, and that are looked into to recognise the layout."""


class ImageFolder(Dataset):
    """``root/{real,fake}/…`` or ``root/<source>/{real,fake}/…``, each class folder nested to any depth.

    The folder that contains the class folders is the source. A source may have only one class. A file in a sub-folder
    of its class belongs to the group of that sub-folder (the frames of one video); any other file is a group of its
    own. Groups are named ``<source>/<folder or stem>``, so that the frames of ``a/real/7`` and ``a/fake/7`` stay
    together. A group named like a FaceForensics++ sequence, ``METHOD_ID[_ID]_PART``, gives the identities. Hidden files
    are skipped, and so are files whose suffix is neither that of an image nor that of a video.

    With a label map, several folders may mean the same class. Each is then a part, whose files have the source
    ``<source>/<folder>``. Parts are also the sub-folders of a class folder of which at least one has the name of a
    folder of FaceForensics++ (``fake/Deepfakes``, ``fake/FaceSwap``). Beside such names, videos that are named as in
    FaceForensics++ give identities: ``000_003`` shows the persons 000 and 003.

    If all folders that contain class folders have names of splits (``root/{train,valid,test}/{real,fake}``, also
    ``val`` and similar), they are the splits of one source. Then groups are named
    ``<source>/<split>/<folder or stem>``.

    Each real folder is read once, whatever links lead to it.

    Args:
        root: Folder of the dataset.
        labels: Map from the name of a class folder to 1 for fake or 0 for real, in place of
            :data:`~deepfake_core.datasets.labels.LABELS`.
        group: Regular expression that finds the group in the name of a sub-folder or, where it finds nothing there, of
            a file without its suffix: its first capture group, or else all that it matches. Where it finds nothing in
            either, the group is what it is without this option.
        without: Names of sources to leave out. A name ``COLLECTION`` also means all sources ``COLLECTION/…``.

    Raises:
        TrainingDataError: ``group`` is no regular expression.
    """

    fakes_are_sources = False
    """Whether each folder of fakes is a source of its own, even if there is only one."""

    def __init__(
        self,
        root: str | Path,
        labels: Mapping[str, int] = LABELS,
        group: str | None = None,
        without: tuple[str, ...] = (),
    ) -> None:
        super().__init__(root)
        self.labels = dict(labels)
        self.group = group
        self.without = tuple(without)
        try:
            self._pattern = re.compile(group) if group else None
        except re.error as error:
            raise TrainingDataError(
                f"{root}: group={group!r} is no regular expression ({error}); correct it"
            ) from error

    @classmethod
    def recognises(cls, root: Path) -> bool:
        if not root.is_dir():
            return False
        inner = folders(root)
        return _has_classes(inner) or any(_has_classes(folders(folder)) for folder in inner[:_MANY])

    def __iter__(self) -> Iterator[Sample]:
        left_out: set[str] = set()
        there: set[str] = set()
        for sample in self._all(left_out):
            by = [name for name in self.without if f"{sample.source}/".startswith(f"{name}/")]
            left_out.update(by)
            if not by:
                there.add(sample.source)
                yield sample
        if unknown := sorted({*self.without} - left_out):
            raise TrainingDataError(
                f"{self.root}: no source {unknown[0]!r} to leave out; there are {some(sorted(there | left_out), 20)}"
            )

    def _all(self, left_out: set[str]) -> Iterator[Sample]:
        """Yield the samples of all sources whose folder need not be left out; the names of the others are added."""
        inner = self._class_folders()
        name = self._name()
        entered: set[str] = set()
        if any(self._meaning(folder) is not None for folder in inner):
            yield from self._source(name, "", self.root, inner, entered)
            return
        if not inner:
            raise TrainingDataError(f"{self.root}: no class folders; expected {self._expected()}")
        splits = all(folder.name.lower() in SPLITS for folder in inner)
        below = chain.from_iterable(map(folders, inner[:_MANY]))
        if not splits and not any(self._meaning(folder) is not None for folder in below):
            raise self._strange(self.root, inner, "no class folders; ")
        for folder in inner:
            split = SPLITS[folder.name.lower()] if splits else ""
            source = name if splits else folder.resolve().name
            if source in self.without:
                left_out.add(source)
            else:
                yield from self._source(source, split, folder, folders(folder), entered)

    def _name(self) -> str:
        return self.root.resolve().name

    def _class_folders(self) -> list[Path]:
        """Return the folders in the root: class folders, sources or splits."""
        return folders(self.root)

    def _source(self, name: str, split: str, source: Path, inner: list[Path], entered: set[str]) -> Iterator[Sample]:
        if not inner:
            raise TrainingDataError(f"{source}: no class folders; expected {self._expected()}")
        if any(self._meaning(folder) is None for folder in inner):
            raise self._strange(source, inner)
        count = Counter(self._meaning(folder) for folder in inner)
        for is_fake in (False, True):
            if count[is_fake] > 1 and self.labels == LABELS:
                raise self._several(source, [folder for folder in inner if self._meaning(folder) == is_fake], inner)
        prefix = f"{name}/{source.name}" if split else name
        parts = {folder: _parts(folder, bool(self._meaning(folder))) for folder in inner}
        named = any(FOLDERS.get(path.name.lower()) for path in [*inner, *chain.from_iterable(parts.values())])
        for folder in inner:
            is_fake = bool(self._meaning(folder))
            empty = True
            # The class folder comes last: of it, the files outside of its parts are left.
            for part in (*parts[folder], folder):
                own = part != folder or count[is_fake] > 1 or (is_fake and self.fakes_are_sources)
                part_source = f"{name}/{part.name}" if own else name
                for sample in self._class(part, is_fake, part_source, prefix, split, entered):
                    empty = False
                    yield self._of_faceforensics(sample, part, prefix) if named else sample
            if empty:
                raise TrainingDataError(
                    f"{folder}: no pictures or videos that no other folder has; add some, or remove the folder"
                )

    def _class(
        self, folder: Path, is_fake: bool, source: str, prefix: str, split: str, entered: set[str]
    ) -> Iterator[Sample]:
        """Yield the samples of one class folder or part; the names of its groups begin with ``prefix``."""
        for path in files_below(folder, entered=entered):
            if path.suffix.lower() in MEDIA_SUFFIXES:
                inner = path.parent.relative_to(folder).as_posix()
                name = path.stem if inner == "." else inner
                group = f"{prefix}/{self._unit(name, path.stem)}"
                identities = sequence_identities(f"{prefix}/{name}")
                yield Sample(path, is_fake, source, group, split, identities, label=folder.name)

    def _unit(self, *names: str) -> str:
        """Return what the option ``group`` finds in the first of some names in which it finds anything; else the first.

        Args:
            names: Names of a sample's folder and file.
        """
        pattern = self._pattern
        for match in (pattern.search(name) for name in names) if pattern else ():
            if found := match and ((match.re.groups and match[1]) or match[0]):
                return found
        return names[0]

    def _of_faceforensics(self, sample: Sample, part: Path, prefix: str) -> Sample:
        """Return a sample with the identities in the name of its video; a video file is a group, wherever it lies."""
        path, is_video = sample.path, has_video_suffix(sample.path)
        persons = video_identities(path.stem if is_video or path.parent == part else path.parent.name)
        return replace(
            sample,
            group=f"{prefix}/{self._unit(path.stem)}" if is_video else sample.group,
            identities=sample.identities or tuple(f"{prefix}/{person}" for person in persons),
        )

    def _meaning(self, folder: Path) -> bool | None:
        return known_meaning(folder.name, self.labels)

    def _expected(self) -> str:
        return "/".join(sorted(self.labels))

    def _strange(self, source: Path, inner: list[Path], problem: str = "") -> TrainingDataError:
        strange = next(folder.name for folder in inner if self._meaning(folder) is None)
        return TrainingDataError(
            f"{source}: {problem}folder {strange!r} is no known class; expected {self._expected()}, or say what every "
            f"folder means: {self._with_map(inner)}"
        )

    def _several(self, source: Path, same: list[Path], inner: list[Path]) -> TrainingDataError:
        meaning = "fake" if self._meaning(same[0]) else "real"
        return TrainingDataError(
            f"{source}: {same[0].name!r} and {same[1].name!r} both mean {meaning}; keep one, or say what every folder "
            f"means: {self._with_map(inner)}"
        )

    def _with_map(self, inner: list[Path]) -> str:
        """Return the address with a label map of all folders; ``fake|real`` stands where the user has to choose."""
        if len(inner) > _MANY:
            return self.advised(labels="VALUE:fake,VALUE:real")
        meanings = {}
        for folder in inner:
            known = self._meaning(folder)
            fake = FOLDERS.get(folder.name.lower()) if known is None else known
            meanings[folder.name] = "fake|real" if fake is None else "fake" if fake else "real"
        return self.advised(labels=",".join(f"{name}:{meaning}" for name, meaning in meanings.items()))


def _parts(folder: Path, is_fake: bool) -> list[Path]:
    """Return the sub-folders of a class folder if one of them has a name of FaceForensics++; otherwise none."""
    inner = folders(folder)
    return inner if any(FOLDERS.get(path.name.lower()) == is_fake for path in inner) else []


def _has_classes(inner: list[Path]) -> bool:
    return bool(inner) and all(known_meaning(folder.name, LABELS) is not None for folder in inner)
