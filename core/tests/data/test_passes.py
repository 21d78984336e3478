"""Every command lists a dataset once, and counts copies once."""

from __future__ import annotations

from collections import Counter

import pytest
from mini_sets import pictures

from deepfake_core.data import divide
from deepfake_core.data.check import check
from deepfake_core.data.divide import divide_dataset
from deepfake_core.data.manifest import held_out_hashes, manifest_hash, verify, write_manifest
from deepfake_core.data.stats import collect
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.formats import csv_table
from deepfake_core.datasets.formats.csv_table import CsvTable
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError


class Counted(ImageFolder):
    """Class folders that count how often they are listed."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


@pytest.mark.parametrize(
    "command",
    [
        lambda data, path: check(data, threads=1),
        lambda data, path: collect(data, threads=1),
        lambda data, path: divide_dataset(data),
        lambda data, path: manifest_hash(data, threads=1),
        lambda data, path: write_manifest(data, path / "new.csv", threads=1),
        lambda data, path: verify(data, path / "m.csv", threads=1),
        lambda data, path: held_out_hashes(data),
    ],
    ids=["check", "stats", "split", "hash", "manifest", "verify", "held out"],
)
def test_a_dataset_is_listed_once(tmp_path, command):
    data = Counted(pictures(tmp_path / "set"))
    write_manifest(data, tmp_path / "m.csv", threads=1)
    data.passes = 0
    command(data, tmp_path)
    assert data.passes == 1


class Named(Dataset):
    """Samples that have no files."""

    def __init__(self, root, count):
        super().__init__(root)
        self.count = count

    def __iter__(self):
        for number in range(self.count):
            yield Sample(self.root / f"{number}.jpg", number % 2 == 1, "s", f"v{number // 2}")


def test_copies_are_counted_in_one_pass(tmp_path, monkeypatch):
    class Watched(Counter):
        counted = 0

        def __init__(self, items=()):
            items = list(items)
            Watched.counted += len(items)
            super().__init__(items)

    monkeypatch.setattr(divide, "Counter", Watched)
    monkeypatch.setattr(divide, "_digests", lambda samples: [f"{row // 4:064x}" for row in range(len(samples))])
    counts = []
    for size in (1000, 4000):
        Watched.counted = 0
        assert divide_dataset(Named(tmp_path, size)).ties == size // 4 * 3
        counts.append(Watched.counted)
    assert counts[1] <= 4 * counts[0]


def test_a_table_is_checked_once_and_then_read_once_for_each_pass(tmp_path, monkeypatch):
    root = pictures(tmp_path / "set")
    table = tmp_path / "set.csv"
    files = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.jpg"))]
    table.write_text("path,label\n" + "".join(f"{name},{'fake' if 'fake' in name else 'real'}\n" for name in files))
    reads = []
    rows = csv_table.rows
    monkeypatch.setattr(
        csv_table, "rows", lambda file, *rest, **options: reads.append(file) or rows(file, *rest, **options)
    )
    data = CsvTable(table, root)
    first = list(data)
    reads.clear()
    assert list(data) == first
    assert len(reads) == 1
    table.write_text(table.read_text() + f"{files[0]},real\n")
    with pytest.raises(TrainingDataError, match="another label"):
        list(data)
