"""Videos stored as folders of frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deepfake_core.datasets import Sample
from deepfake_core.datasets.files import MEDIA_SUFFIXES, files_below, folders, listed
from deepfake_core.datasets.labels import video_identities
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import PICTURE_SUFFIXES, by_number


class FrameFolders(ImageFolder):
    """``root/{real,fake}/<video>/*.jpg``, or the same below folders of sources or splits.

    Each video is a group of its own, ``<source>/<class folder>/<video>``, and its frames are numbered in the order of
    their names (``2.jpg`` before ``10.jpg``). Video names as in Celeb-DF (``id1_id2_0003``) and FaceForensics++
    (``000_003``) give the identities. Under any other name, a real and a fake video of that name share an identity
    within a split.

    Args:
        root: Folder of the dataset.
        labels: Map from the name of a class folder to 1 for fake or 0 for real.
        group: Regular expression whose first capture group, or else all that it matches, names what a video shares
            with others: videos in which it finds the same get one identity, and thus stay in one split.
        without: Names of sources to leave out. A name ``COLLECTION`` also means all sources ``COLLECTION/…``.
    """

    @classmethod
    def recognises(cls, root: Path) -> bool:  # noqa: ARG003 - an image folder looks the same
        return False

    def _class(
        self, folder: Path, is_fake: bool, source: str, prefix: str, split: str, entered: set[str]
    ) -> Iterator[Sample]:
        loose = [path.name for path in listed(folder) if path.suffix.lower() in MEDIA_SUFFIXES and path.is_file()]
        if loose:
            raise TrainingDataError(
                f"{folder / min(loose)}: lies outside of a video's folder; move it into one, or read the dataset as "
                "image-folder"
            )
        for video in folders(folder):
            persons = tuple(f"{source}/{person}" for person in video_identities(video.name))
            shared = (f"{prefix}/{self._unit(video.name)}",) if self.group or not persons else ()
            yield from frames(
                video,
                is_fake,
                source,
                f"{prefix}/{folder.name}/{video.name}",
                split,
                (*persons, *shared),
                folder.name,
                entered,
            )


def frames(
    folder: Path,
    is_fake: bool,
    source: str,
    group: str,
    split: str,
    identities: tuple[str, ...],
    label: str,
    entered: set[str] | None = None,
) -> Iterator[Sample]:
    """Yield the frames of one video, in the order of their numbers."""
    files = files_below(folder, by_number, entered=entered)
    pictures = (path for path in files if path.suffix.lower() in PICTURE_SUFFIXES)
    for number, path in enumerate(pictures):
        yield Sample(path, is_fake, source, group, split, identities, frame=number, label=label)
