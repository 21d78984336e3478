"""Datasets that the Hugging Face library ``datasets`` can load: an id on the Hub, or a local path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.cells import class_name, persons, picture, text
from deepfake_core.datasets.labels import LABELS, SPLITS, LabelReader, label_column
from deepfake_core.datasets.listing import Listing
from deepfake_core.errors import MissingExtra, TrainingDataError

_SAVED = ("dataset_dict.json", "state.json")


class HuggingFace(Dataset):
    """A dataset on the Hugging Face Hub, or in a folder, as the ``datasets`` library reads it.

    The columns of images and labels are found by their types (``Image``, ``ClassLabel``) if there is one column of each
    type; otherwise ``image`` and ``label`` must name them. Class names other than ``real`` and ``fake`` need a label
    map. The optional columns ``source``, ``group`` and ``identity`` are used as they are; without them the source is
    the name of the dataset and each row is a group of its own. Without a network, the library reads what it downloaded
    earlier.

    Args:
        root: Id of the dataset, such as ``user/name``, or a folder: one that ``save_to_disk`` wrote, or any that
            ``load_dataset`` accepts.
        config: Name of the configuration, if the dataset has several.
        split: Name of the only split to read; by default all splits are read.
        image: Name of the column of images.
        label: Name of the column of labels.
        labels: Map from a class name or a label to 1 for fake or 0 for real.
        streaming: Whether to read over the network as needed instead of downloading first. :meth:`read` is slow then;
            use :meth:`stream`.
        revision: Commit, tag or branch on the Hub.
    """

    def __init__(
        self,
        root: str | Path,
        config: str | None = None,
        split: str | None = None,
        image: str | None = None,
        label: str | None = None,
        labels: Mapping[str, int] = LABELS,
        streaming: bool = False,
        revision: str | None = None,
    ) -> None:
        super().__init__(root)
        self.config = config
        self.split = split
        self.image = image
        self.label = label
        self.labels = dict(labels)
        self.streaming = streaming
        self.revision = revision
        self._loaded: dict[str, Any] | None = None
        self._listing = Listing()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_loaded": None}  # the loaded dataset holds open files

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any((root / name).is_file() for name in _SAVED)

    def __iter__(self) -> Iterator[Sample]:
        return self._listing.samples("rows", self._rows(with_bytes=False))

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        return self._listing.remembering("rows", self._rows(with_bytes=True))

    def read(self, sample: Sample) -> Path | bytes:
        split, _, row = sample.member.rpartition("/")
        part = self._splits()[split]
        image, _ = self._columns(part)
        part = _undecoded(part, image).select_columns([image])
        cells = next(iter(part.skip(int(row)))) if self.streaming else part[int(row)]
        return picture(cells[image], sample.name, self.advised)

    def state(self, sample: Sample) -> object:
        # The library changes this fingerprint with the data; a dataset that is streamed has none.
        return getattr(self._splits()[sample.member.rpartition("/")[0]], "_fingerprint", None)

    def _rows(self, *, with_bytes: bool) -> Iterator[tuple[Sample, Path | bytes]]:
        for name, part in self._splits().items():
            image, label = self._columns(part)
            names = getattr((part.features or {}).get(label), "names", ())
            kept = [label, *(column for column in ("source", "group", "identity") if column in _names(part))]
            part = _undecoded(part, image).select_columns([*kept, image] if with_bytes else kept)
            split = SPLITS.get(str(name).lower(), "")
            read = LabelReader(self.labels, self.advised, label)
            for row, cells in enumerate(part):
                where = f"{self.root}: split {name} row {row}"
                is_fake, word = read(class_name(cells[label], names, where), where)
                source = text(cells.get("source"), self.root.name)
                group = text(cells.get("group"), f"{source}/{name}/{row}")
                named, member = persons(cells.get("identity")), f"{name}/{row}"
                sample = Sample(self.root, is_fake, source, group, split, named, None, member, label=word)
                yield sample, picture(cells[image], where, self.advised) if with_bytes else b""

    def _columns(self, part: Any) -> tuple[str, str]:
        """Return the names of the column of images and the column of labels."""
        return self._column(part, "image", "Image", self.image), self._column(part, "label", "ClassLabel", self.label)

    def _column(self, part: Any, what: str, kind: str, chosen: str | None) -> str:
        names = _names(part)
        if chosen is not None:
            if chosen not in names:
                raise TrainingDataError(f"{self.root}: no column {chosen!r}; its columns are {', '.join(names)}")
            return chosen
        typed = [name for name in names if type((part.features or {}).get(name)).__name__ == kind]
        if len(typed) == 1:
            return typed[0]
        if not typed and what in names:
            return what
        if not typed and what == "label" and (found := label_column(names, str(self.root), self.advised)) in names:
            return found
        found = f"columns {', '.join(typed)} could be it" if typed else f"its columns are {', '.join(names)}"
        raise TrainingDataError(
            f"{self.root}: which column is the {what}? {found}: choose by {what}=NAME: {self.advised(**{what: 'NAME'})}"
        )

    def _splits(self) -> dict[str, Any]:
        if self._loaded is None:
            loaded = self._load()
            # A split that was saved alone may not contain its own name.
            self._loaded = dict(loaded) if hasattr(loaded, "keys") else {str(loaded.split or "all"): loaded}
            if self.split is not None:
                if self.split not in self._loaded:
                    raise TrainingDataError(
                        f"{self.root}: no split {self.split!r}; there are {', '.join(map(str, self._loaded))}"
                    )
                self._loaded = {self.split: self._loaded[self.split]}
        return self._loaded

    def _load(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("reading Hugging Face datasets", "deepfake-core[data]") from error
        try:
            if any((self.root / name).is_file() for name in _SAVED):
                return datasets.load_from_disk(str(self.root))
            return datasets.load_dataset(
                self.root.as_posix(), self.config, split=None, streaming=self.streaming, revision=self.revision
            )
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error).split())
            raise TrainingDataError(
                f"{self.root}: cannot be loaded as a Hugging Face dataset ({reason}); check its name and the "
                "network, or download it and name the folder"
            ) from error


def _names(part: Any) -> list[str]:
    return list(part.column_names or ())


def _undecoded(part: Any, image: str) -> Any:
    """Return the same rows with encoded images instead of pixels, because the core decodes images itself."""
    import datasets

    if isinstance((part.features or {}).get(image), datasets.Image):
        return part.cast_column(image, datasets.Image(decode=False))
    return part
