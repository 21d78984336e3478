"""Several folders of fakes beside one of originals, as FaceForensics++ is mirrored, and links between folders."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from layouts import faceforensics, write

from deepfake_core.datasets.files import matching
from deepfake_core.datasets.layouts.faceforensics import FaceForensics
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.datasets.sources import shared_reals
from deepfake_core.errors import TrainingDataError

FAKES = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", "DeepFakeDetection")


def mirror(root: Path, originals: str = "original", ending: str = "mp4", fakes: tuple[str, ...] = FAKES) -> Path:
    names = {f"{originals}/{n:03}.{ending}": b"x" for n in range(2)}
    return write(root, names | {f"{fake}/000_001.{ending}": b"x" for fake in fakes})


@pytest.mark.parametrize("originals", ["original", "original_sequences", "real", "youtube", "Original"])
@pytest.mark.parametrize("ending", ["mp4", "png"])
def test_a_mirror_is_recognised_and_each_manipulation_is_a_source(tmp_path: Path, originals: str, ending: str) -> None:
    root = mirror(tmp_path / "ff", originals, ending)
    samples = list(open_dataset(root))
    assert {s.source for s in samples if not s.is_fake} == {"faceforensics"}
    assert {s.source for s in samples if s.is_fake} == {f"faceforensics/{name}" for name in FAKES}
    assert {s.label for s in samples} == {originals, *FAKES}
    assert {s.identities for s in samples if s.is_fake} == {("faceforensics/000", "faceforensics/001")}
    assert len(samples) == 2 + len(FAKES)


def test_a_mirror_with_folders_of_frames_compressions_and_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(
        tmp_path,
        {
            "original_sequences/youtube/c23/videos/000.mp4": b"",
            "original_sequences/youtube/c40/videos/000.mp4": b"",
            "Deepfakes/c23/frames/000_003/1.png": b"",
            "Deepfakes/masks/videos/000_003.mp4": b"",
            "splits/train.json": b'[["000", "003"]]',
            "splits/._train.json": b"a hidden file",
        },
    )
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        samples = list(open_dataset(root))
    assert [(s.path.name, s.source, s.split) for s in samples] == [
        ("1.png", "faceforensics/Deepfakes", "train"),
        ("000.mp4", "faceforensics/youtube", "train"),
    ]
    assert "passed over 2 files that are masks or not of compression c23" in caplog.text
    assert [s.path.parent.parent.name for s in open_dataset(f"faceforensics:{root}?compression=c40")] == ["c40"]


def test_actors_are_known_by_the_names_of_their_videos(tmp_path: Path) -> None:
    names = ("original/01__walking.mp4", "DeepFakeDetection/01_02__walking__ABC.mp4")
    root = write(tmp_path, dict.fromkeys(names, b""))
    assert [s.identities for s in open_dataset(root)] == [
        ("faceforensics/01", "faceforensics/02"), ("faceforensics/01",)
    ]  # fmt: skip


def test_a_folder_that_is_not_known_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = mirror(tmp_path / "ff", fakes=("Deepfakes", "FaceSwap"))
    write(root, {"csv/metadata.csv": b"a,b"})
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        assert len(list(open_dataset(root))) == 4
    assert "passed over csv, which hold no pictures or videos" in caplog.text
    write(root, {"mine/1.png": b""})
    with pytest.raises(TrainingDataError, match="folder 'mine' is neither one of originals nor of a known") as caught:
        list(open_dataset(root))
    named, left_out = re.findall(r'"([^"]+)"', str(caught.value))
    assert len(list(open_dataset(left_out))) == 4
    (root / "csv" / "metadata.csv").rename(root / "metadata.csv")
    (root / "csv").rmdir()
    assert {s.source for s in open_dataset(named.replace("fake|real", "fake")) if s.is_fake} == {
        "ff/Deepfakes", "ff/FaceSwap", "ff/mine"
    }  # fmt: skip


def test_manipulations_of_a_mirror_are_chosen(tmp_path: Path) -> None:
    root = mirror(tmp_path / "ff", fakes=("Deepfakes", "FaceSwap"))
    samples = list(open_dataset(f"faceforensics:{root}?manipulations=FaceSwap"))
    assert {s.source for s in samples} == {"faceforensics", "faceforensics/FaceSwap"}
    with pytest.raises(TrainingDataError, match="no folder 'FaceShifter'; there are Deepfakes, FaceSwap, original"):
        list(FaceForensics(root, manipulations=("FaceShifter",)))


def test_the_published_layout_has_the_same_sources(tmp_path: Path) -> None:
    faceforensics(tmp_path)
    sources = {(s.source, s.is_fake) for s in FaceForensics(tmp_path)}
    assert sources == {("faceforensics", False), ("faceforensics/Deepfakes", True), ("faceforensics/FaceSwap", True)}


@pytest.mark.parametrize("layout", ["image-folder", "frame-folders"])
def test_a_label_map_may_name_several_folders_of_fakes(tmp_path: Path, layout: str) -> None:
    inner = "" if layout == "image-folder" else "7/"
    root = write(tmp_path / "set", {f"{name}/{inner}7.png": b"" for name in ("camera", "gan", "diffusion")})
    with pytest.raises(TrainingDataError, match="folder 'camera' is no known class") as caught:
        list(open_dataset(f"{layout}:{root}"))
    remedy = re.findall(r'"([^"]+)"', str(caught.value))[0]
    address = remedy.replace("camera:fake|real", "camera:real").replace("fake|real", "fake")
    samples = list(open_dataset(address))
    assert {(s.source, s.is_fake) for s in samples} == {("set", False), ("set/gan", True), ("set/diffusion", True)}
    if layout == "image-folder":
        assert {s.group for s in samples} == {"set/7"}, "a picture and the fakes of it stay together"
    else:
        assert {s.identities for s in samples} == {("set/7",)}


@pytest.mark.parametrize("inner", ["", "c23/"])
@pytest.mark.parametrize("originals", ["", "youtube/"])
def test_the_published_folders_without_those_of_versions(tmp_path: Path, inner: str, originals: str) -> None:
    names = (f"original_sequences/{originals}{inner}000.mp4", f"manipulated_sequences/FaceSwap/{inner}000_001.mp4")
    samples = list(open_dataset(write(tmp_path, dict.fromkeys(names, b""))))
    assert [(s.group, s.is_fake) for s in samples] == [
        ("faceforensics/youtube/000", False), ("faceforensics/FaceSwap/000_001", True)
    ]  # fmt: skip


def test_two_spellings_of_a_class_need_a_label_map(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {f"{name}/a.png": b"" for name in ("real", "fake", "1_fake")})
    with pytest.raises(TrainingDataError, match="'1_fake' and 'fake' both mean fake") as caught:
        list(open_dataset(f"image-folder:{root}"))
    (address,) = re.findall(r'"([^"]+)"', str(caught.value))
    assert {s.source for s in open_dataset(address)} == {"set", "set/fake", "set/1_fake"}


def test_manipulations_below_the_folder_of_fakes_are_sources(tmp_path: Path) -> None:
    root = write(
        tmp_path / "set",
        {
            "real/000.mp4": b"",
            "fake/Deepfakes/000_003.mp4": b"",
            "fake/Deepfakes/000_004.mp4": b"",
            "fake/mine/000_003.mp4": b"",
            "fake/loose.png": b"",
        },
    )
    samples = {s.path.relative_to(root).as_posix(): (s.source, s.group, s.identities) for s in open_dataset(root)}
    assert samples == {
        "fake/Deepfakes/000_003.mp4": ("set/Deepfakes", "set/000_003", ("set/000", "set/003")),
        "fake/Deepfakes/000_004.mp4": ("set/Deepfakes", "set/000_004", ("set/000", "set/004")),
        "fake/mine/000_003.mp4": ("set/mine", "set/000_003", ("set/000", "set/003")),
        "fake/loose.png": ("set", "set/loose", ()),
        "real/000.mp4": ("set", "set/000", ("set/000",)),
    }


def test_linked_folders_count_and_each_is_read_once(tmp_path: Path) -> None:
    root = mirror(tmp_path / "ff", fakes=("Deepfakes", "Face2Face"))
    linked = tmp_path / "linked"
    (linked / "fake").mkdir(parents=True)
    (linked / "real").symlink_to(root / "original")
    for name in ("Deepfakes", "Face2Face"):
        (linked / "fake" / name).symlink_to(root / name)
    (linked / "fake" / "again").symlink_to(root / "Deepfakes")
    samples = list(open_dataset(linked))
    assert [s.path.relative_to(linked).as_posix() for s in samples if s.is_fake] == [
        "fake/Deepfakes/000_001.mp4", "fake/Face2Face/000_001.mp4"
    ]  # fmt: skip
    assert sum(not s.is_fake for s in samples) == 2
    (root / "FaceSwap").symlink_to(root / "Deepfakes")
    with pytest.raises(TrainingDataError, match="FaceSwap: no pictures or videos that no other folder has"):
        list(open_dataset(root))


def test_links_to_folders_of_tables_and_archives_count_once(tmp_path: Path) -> None:
    write(tmp_path, {"parts/a/metadata.json": b"{}", "parts/.hidden/metadata.json": b"{}"})
    (tmp_path / "parts" / "b").symlink_to(tmp_path / "parts" / "a")
    (tmp_path / "parts" / "c").symlink_to(tmp_path / "parts")
    found = matching(tmp_path / "parts", "metadata.json", "*/metadata.json", "*/*/metadata.json")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["parts/a/metadata.json"]


def test_parts_of_a_collection_share_its_real_samples() -> None:
    real, fake = ["ff", "web", "x/a", "x/b"], ["ff/Deepfakes", "ff/FaceSwap", "web", "x/c", "alone", "y/d"]
    assert shared_reals(real, fake) == {"ff/Deepfakes": ["ff"], "ff/FaceSwap": ["ff"], "x/c": ["x/a", "x/b"]}
