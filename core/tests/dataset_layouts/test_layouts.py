"""What holds for every layout, on a miniature copy of each."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from layouts import LAYOUTS, NEEDS

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.discovery import plugins
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import sample_frames

# Those that cannot be known by their look: a folder of frames looks like a folder of pictures.
TO_BE_NAMED = {"frame-folders", "sample"}


@pytest.fixture(params=sorted(LAYOUTS))
def layout(request: pytest.FixtureRequest) -> str:
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    return str(request.param)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Writes each layout once for all tests."""
    return cache(lambda layout: LAYOUTS[layout](tmp_path_factory.mktemp(layout) / "mini"))


@pytest.fixture
def address(layout: str, written: Callable[[str], str]) -> str:
    return written(layout)


def level(dataset: Dataset, sample: Sample) -> float:
    """Mean brightness of a picture, or of a video's first sampled frame."""
    content = dataset.read(sample)
    if is_video(content):
        return float(next(iter(sample_frames(content, 1))).pixels.mean())
    return float(decode(content).pixels.mean())


def test_every_layout_of_the_core_is_tested_here() -> None:
    ours = {name for name, entry in plugins.datasets().items() if entry.distribution == "deepfake-core"}
    assert ours - {"crops"} == set(LAYOUTS)


def test_labels_are_those_of_the_pixels(layout: str, address: str) -> None:
    dataset = open_dataset(address)
    samples = list(dataset)
    assert {sample.is_fake for sample in samples} == {0, 1}
    if layout == "sample":
        return  # its pictures are faces
    for sample in samples:
        assert (level(dataset, sample) > 120) == sample.is_fake, sample.name


def test_streaming_gives_the_same_samples_and_bytes(address: str) -> None:
    dataset = open_dataset(address)
    streamed = list(dataset.stream())
    assert [sample for sample, _ in streamed] == list(dataset)
    for sample, content in streamed:
        assert content == dataset.read(sample)


def test_order_is_stable_and_names_are_unique(address: str) -> None:
    samples = list(open_dataset(address))
    assert samples == list(open_dataset(address))
    assert len({sample.name for sample in samples}) == len(samples)
    assert all(sample.group and sample.source for sample in samples)


def test_travels_between_processes(address: str) -> None:
    dataset = open_dataset(address)
    samples = list(dataset)
    copy = pickle.loads(pickle.dumps(dataset))
    assert list(copy) == samples
    assert copy.read(samples[-1]) == dataset.read(samples[-1])


def test_recognised_without_its_name(layout: str, address: str) -> None:
    path, _, options = address.partition(":")[2].partition("?")
    assert Path(path).exists() or layout == "sample"
    if layout in TO_BE_NAMED:
        return
    if layout == "shards":  # numbers mean nothing without a map
        assert type(open_dataset(f"{path}?{options}")) is type(open_dataset(address))
    else:
        assert type(open_dataset(path)) is type(open_dataset(Path(path))) is type(open_dataset(address))
