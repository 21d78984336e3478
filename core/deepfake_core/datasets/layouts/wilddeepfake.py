"""WildDeepfake (Zi et al. 2020, arXiv 2101.01456): sequences of face images in compressed archives."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.archives import Member, Opener, members, read_member
from deepfake_core.datasets.files import matching
from deepfake_core.datasets.labels import LABELS
from deepfake_core.datasets.listing import Listing, state_of
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import PICTURE_SUFFIXES, by_number

SOURCE = "wilddeepfake"
MAX_IMAGES = 300_000
"""Default number of images to prepare, of the dataset's 1.16 million."""

_TOP = "deepfake_in_the_wild"
_FOLDERS = {f"{kind}_{split}": (bool(LABELS[kind]), split) for kind in ("real", "fake") for split in ("train", "test")}
_URL = re.compile(r"[a-z][a-z0-9+.-]+://")


class WildDeepfake(Dataset):
    """``deepfake_in_the_wild/{real,fake}_{train,test}/N.tar.gz``, with members such as ``./1/fake/131/942.png``.

    The path of a member is ``archive/class/sequence/frame``. The class of the member must agree with the folder of its
    archive, and the folder gives the split. Each sequence is a group, and the name of a frame is its number. The
    sequences of one archive may be cut from one video, so they share an identity.

    The archives are compressed: one pass by :meth:`stream` is cheap, whereas :meth:`read` decompresses an archive from
    its beginning.

    Args:
        root: Folder ``deepfake_in_the_wild``, or the folder that contains it. A URL that fsspec understands, such as
            ``hf://datasets/xingjunm/WildDeepfake``, is streamed.
    """

    def __init__(self, root: str | Path) -> None:
        self.url = str(root).rstrip("/") if _URL.match(str(root)) else ""
        super().__init__(root)
        self._listing = Listing()

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any((top / name).is_dir() for top in (root, root / _TOP) for name in _FOLDERS)

    def __iter__(self) -> Iterator[Sample]:
        return self._listing.samples(self._state(), self._members())

    def default_max_images(self) -> int:
        return MAX_IMAGES

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        members = self._listing.remembering(self._state(), self._members())
        return ((sample, member.read()) for sample, member in members)

    def read(self, sample: Sample) -> Path | bytes:
        return read_member(sample.path, sample.member, self._opener(sample.path))

    def _state(self) -> Hashable:
        return self.url or state_of(path for _, path in self._archives())

    def _members(self) -> Iterator[tuple[Sample, Member]]:
        empty = True
        for folder, archive in self._archives():
            for member in members(archive, self._opener(archive)):
                if PurePosixPath(member.name).suffix.lower() in PICTURE_SUFFIXES:
                    empty = False
                    yield _sample(archive, folder, member), member
        if empty:
            raise TrainingDataError(
                f"{self.url or self.root}: no archives {_TOP}/{{real,fake}}_{{train,test}}/N.tar.gz with pictures "
                "in them"
            )

    def _archives(self) -> Iterator[tuple[str, Path]]:
        """Yield ``(name of the folder, path)`` for every archive, in the order of their numbers."""
        if self.url:
            names = [Path(name) for name in _remote(self.url)]
        else:
            names = matching(self.root, "*_t*/*.tar.gz", f"{_TOP}/*_t*/*.tar.gz")
        for path in sorted(names, key=lambda path: (path.parent.name, by_number(path.name))):
            if path.parent.name in _FOLDERS:
                yield path.parent.name, path

    def _opener(self, archive: Path) -> Opener | None:
        if not self.url:
            return None
        scheme = self.url.partition("://")[0]

        def opened() -> BinaryIO:
            import fsspec

            stream: BinaryIO = fsspec.filesystem(scheme).open(archive.as_posix(), "rb")
            return stream

        return opened


def _sample(archive: Path, folder: str, member: Member) -> Sample:
    is_fake, split = _FOLDERS[folder]
    path = PurePosixPath(member.name)
    where = f"{archive}: member {member.name!r}"
    if len(path.parts) < 3 or ".." in path.parts:
        raise TrainingDataError(f"{where}: expected archive/class/sequence/frame, such as ./1/fake/131/942.png")
    kind, sequence = path.parts[-3:-1]
    if kind not in ("real", "fake") or LABELS[kind] != is_fake:
        raise TrainingDataError(f"{where}: is {kind!r} in a folder {folder!r}; get the archive again")
    video = f"{SOURCE}/{folder}/{archive.name.partition('.')[0]}"
    frame = int(path.stem) if path.stem.isdecimal() else -1
    group = f"{video}/{sequence}"
    return Sample(archive, is_fake, SOURCE, group, split, (video,), None, member.name, frame, kind)


def _remote(url: str) -> list[str]:
    """Return the paths of the archives below a URL."""
    import fsspec

    try:
        system, top = fsspec.core.url_to_fs(url)
        found: list[str] = system.glob(f"{top}/**/*.tar.gz")
    except (OSError, ValueError, ImportError) as error:
        raise TrainingDataError(f"{url}: cannot be listed ({error}); download it, and name the folder") from error
    return found
