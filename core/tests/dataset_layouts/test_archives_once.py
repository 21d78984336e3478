"""Archives that are read from start to end are opened equally often, however many members they have."""

from __future__ import annotations

import json
import os
import pickle

import pytest
from layouts import picture, shards, tar_bytes, video, wilddeepfake, write

from deepfake_core.data.check import check
from deepfake_core.datasets import archives
from deepfake_core.datasets.formats.shards import Shards
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.evaluation.samples import Subset, inputs_of_videos, readers, whole_videos
from deepfake_core.inputs.sources import Frames


@pytest.fixture
def openings(monkeypatch):
    """Names of the archives that were opened, in order."""
    opened = []
    members = archives._members
    monkeypatch.setattr(archives, "_members", lambda path, stream: opened.append(path.name) or members(path, stream))
    return opened


def frames_of_videos(root, count):
    """A compressed archive with ``count`` frames: two videos whose frames alternate, and four single pictures."""
    files = {}
    for number in range(count):
        about = {"label": "fake" if number % 2 else "real"}
        if number >= 4:
            about |= {"group": f"v{number % 2}", "frame": count - number}
        files[f"{number:04d}.png"] = picture("real", number)
        files[f"{number:04d}.json"] = json.dumps(about).encode()
    write(root, {"a.tar.gz": tar_bytes(files, "w:gz")})
    return Shards(root / "a.tar.gz")


@pytest.mark.parametrize("count", [12, 48])
def test_videos_of_a_compressed_archive_are_read_in_one_pass(tmp_path, openings, count):
    dataset = frames_of_videos(tmp_path, count)
    found = list(inputs_of_videos(dataset))
    assert openings == ["a.tar.gz"] * 2  # listed once, read once
    wanted = whole_videos(dataset)
    assert sorted((unit[0].name for unit, _ in found)) == sorted(unit[0].name for unit in wanted)
    for unit, source in found:
        data = list(source.data.pictures) if isinstance(source.data, Frames) else [source.data]
        assert data == [dataset.read(sample) for sample in unit]
    (alone,) = list(inputs_of_videos(Subset(dataset, wanted[0])))
    assert alone[1].data == dataset.read(wanted[0][0])


@pytest.mark.parametrize("count", [12, 48])
def test_chosen_members_of_a_compressed_archive_are_read_in_one_pass(tmp_path, openings, count):
    dataset = frames_of_videos(tmp_path, count)
    chosen = list(dataset)[::2]
    openings.clear()
    found = [(sample, read()) for sample, read in readers(Subset(dataset, chosen))]
    assert openings == ["a.tar.gz"]
    assert found == [(sample, dataset.read(sample)) for sample in chosen]


@pytest.mark.parametrize("count", [2, 6])
def test_check_compares_videos_of_a_compressed_archive_in_one_pass(tmp_path, openings, count):
    files = {}
    for number in range(count):
        files |= {f"{number}.mp4": video("real"), f"{number}.cls": b"real"}
    write(tmp_path, {"a.tar.gz": tar_bytes(files, "w:gz")})
    report = check(Shards(tmp_path / "a.tar.gz"), threads=1)
    assert openings == ["a.tar.gz"] * 2  # inspected once, compared once
    (copies,) = [finding for finding in report.findings if "same bytes" in finding.text]
    assert copies.count == count - 1
    assert copies.names[0] == "a.tar.gz!0.mp4 = a.tar.gz!1.mp4"


def test_faces_of_a_compressed_archive_are_cut_in_one_pass(tmp_path, openings, monkeypatch):
    pytest.importorskip("torch")
    from deepfake_core.data.crops import cutter
    from deepfake_core.data.crops.prepare import prepare
    from deepfake_core.inputs.boxes import Box, Face

    class Finder:
        def find(self, pixels):
            return [Face(Box(8, 8, 16, 16), 1.0, ((1.0, 1.0),) * 5)]

    monkeypatch.setattr(cutter, "FaceFinder", Finder)
    dataset = frames_of_videos(tmp_path, 24)
    list(dataset)
    openings.clear()
    store = prepare(dataset, tmp_path / "store", quality=None)
    assert openings == ["a.tar.gz"], "the samples are remembered, the pictures are not"
    assert len(store) == 24
    assert all(store.read(row).any() for row in range(24))


@pytest.mark.parametrize("layout", [shards, wilddeepfake])
@pytest.mark.parametrize("first", [list, lambda dataset: list(dataset.stream())])
def test_archives_that_were_read_whole_are_not_read_again_for_their_samples(tmp_path, openings, layout, first):
    address = layout(tmp_path)
    dataset = open_dataset(address)
    first(dataset)
    count = len(openings)
    samples = list(dataset)
    assert len(openings) == count
    assert samples == list(open_dataset(address))
    copy = pickle.loads(pickle.dumps(dataset))
    openings.clear()
    assert list(copy) == samples
    assert openings, "a copy in another process lists for itself"
    for path in tmp_path.rglob("*.tar*"):
        os.utime(path, (1, 1))
    openings.clear()
    assert list(dataset) == samples
    assert openings, "archives that have changed are listed again"


def test_a_pass_that_ends_early_is_not_remembered(tmp_path):
    dataset = frames_of_videos(tmp_path, 12)
    next(iter(dataset))
    next(dataset.stream())
    assert len(list(dataset)) == 12
