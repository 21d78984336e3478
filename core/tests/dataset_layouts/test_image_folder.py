from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_core.datasets.layouts.frame_folders import FrameFolders
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def read(root: Path, **options: object) -> list[tuple[str, int, str, str]]:
    samples = ImageFolder(root, **options)  # type: ignore[arg-type]
    return [(s.path.relative_to(root).as_posix(), s.is_fake, s.source, s.group) for s in samples]


@pytest.mark.parametrize(
    ("real", "fake"), [("real", "fake"), ("0_real", "1_fake"), ("training_real", "training_fake"), ("real", "1_fake")]
)
def test_class_folders(tmp_path: Path, real: str, fake: str) -> None:
    root = make(tmp_path / "set", f"{real}/a.jpg", f"{fake}/b.PNG", f"{fake}/seq/001.png", f"{fake}/seq/002.png")
    assert sorted(read(root)) == sorted(
        [
            (f"{real}/a.jpg", 0, "set", "set/a"),
            (f"{fake}/b.PNG", 1, "set", "set/b"),
            (f"{fake}/seq/001.png", 1, "set", "set/seq"),
            (f"{fake}/seq/002.png", 1, "set", "set/seq"),
        ]
    )


def test_source_folders_may_have_one_class(tmp_path: Path) -> None:
    root = make(tmp_path, "lfw/real/a.jpg", "gan/fake/a.jpg", "gan/real/b.mp4")
    assert read(root) == [
        ("gan/fake/a.jpg", 1, "gan", "gan/a"),
        ("gan/real/b.mp4", 0, "gan", "gan/b"),
        ("lfw/real/a.jpg", 0, "lfw", "lfw/a"),
    ]


def test_same_sequence_name_in_both_classes_is_one_group(tmp_path: Path) -> None:
    root = make(tmp_path, "s/real/7/1.png", "s/fake/7/1.png")
    assert {group for _, _, _, group in read(root)} == {"s/7"}


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    root = make(tmp_path, "real/a.jpg", "real/.b.jpg", "real/notes.txt", "real/.cache/c.jpg", ".git/x", "fake/d.jpg")
    (root / "real" / "loop").symlink_to(root)
    assert [path for path, *_ in read(root)] == ["fake/d.jpg", "real/a.jpg"]


def test_own_labels(tmp_path: Path) -> None:
    root = make(tmp_path, "original/a.jpg", "swapped/b.jpg")
    assert [fake for _, fake, _, _ in read(root, labels={"original": 0, "swapped": 1})] == [0, 1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no class folders"),
        (("a.jpg",), "no class folders"),
        (("cats/a.jpg", "dogs/b.jpg"), "no class folders"),
        (("real/a.jpg", "masks/b.png"), "folder 'masks' is no known class"),
        (("real/a.jpg", "0_real/b.png"), "both mean real"),
        (("real/a.jpg", "fake/readme.txt"), "no pictures"),
        (("s/real/a.jpg", "s/other/b.jpg"), "folder 'other' is no known class"),
    ],
)
def test_ambiguous_folders_are_errors_that_name_them(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(TrainingDataError, match=message) as caught:
        read(make(tmp_path, *files))
    assert str(tmp_path) in str(caught.value)


def test_folder_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="absent: cannot be listed"):
        read(tmp_path / "absent")


def test_sequence_names_of_faceforensics_tell_the_identities(tmp_path: Path) -> None:  # resolution 7
    root = make(
        tmp_path / "ff",
        "real/Original_035_0/1.jpg",
        "fake/Deepfakes_035_036_0/1.jpg",
        "fake/Deepfakes_abc_036_0/1.jpg",
        "fake/x/FaceSwap_001_002_11/1.jpg",
        "fake/plain.jpg",
    )
    found = {s.group: s.identities for s in ImageFolder(root)}
    assert found == {
        "ff/Original_035_0": ("ff/035",),
        "ff/Deepfakes_035_036_0": ("ff/035", "ff/036"),
        "ff/Deepfakes_abc_036_0": (),
        "ff/x/FaceSwap_001_002_11": ("ff/x/001", "ff/x/002"),
        "ff/plain": (),
    }


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("training", "val", "testing"), ("Train", "Test")])
def test_folders_called_like_splits_are_splits_of_one_source(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = make(tmp_path / "set", *(f"{name}/{kind}/1.jpg" for name in names for kind in ("real", "fake")))
    samples = list(ImageFolder(root))
    assert {s.source for s in samples} == {"set"}
    assert {s.split for s in samples} == {"train", "valid", "test"} if len(names) == 3 else {"train", "test"}
    assert {s.group for s in samples} == {f"set/{name}/1" for name in names}, "numbering begins anew in each split"


def test_a_source_called_like_a_split_beside_others_is_a_source(tmp_path: Path) -> None:
    root = make(tmp_path, "train/real/a.jpg", "web/real/a.jpg")
    assert [(s.source, s.split) for s in ImageFolder(root)] == [("train", ""), ("web", "")]


def test_class_folders_in_any_case(tmp_path: Path) -> None:  # resolution 4
    assert [fake for _, fake, _, _ in read(make(tmp_path, "Fake/a.jpg", "REAL/b.jpg"))] == [1, 0]
    with pytest.raises(TrainingDataError, match="both mean"):
        read(make(tmp_path, "real/a.jpg"))


def test_a_regular_expression_finds_the_groups(tmp_path: Path) -> None:
    root = make(tmp_path, "d/real/abc__abc.jpg", "d/fake/abc__xyz.jpg", "d/fake/part1/abc__uvw.jpg", "d/fake/other.jpg")
    make(tmp_path, "d/fake/q__1/001.png", "d/fake/q__2/001.png")
    expected = ["d/abc", "d/q", "d/q", "d/other", "d/abc", "d/abc"]
    for pattern in ("^(.+?)__", "^.+?(?=__)"):
        found = [group for *_, group in read(root, group=pattern)]
        assert sorted(found) == sorted(expected)
    with pytest.raises(TrainingDataError, match="no regular expression"):
        ImageFolder(root, group="(")


def test_identities_are_those_of_the_whole_name(tmp_path: Path) -> None:
    root = make(tmp_path, "ff/real/youtube_000_1/1.png", "ff/fake/Deepfakes_000_003_1/1.png")
    samples = list(ImageFolder(root, group="[0-9]{3}"))
    assert {s.group for s in samples} == {"ff/000"}
    assert {s.identities for s in samples} == {("ff/000",), ("ff/000", "ff/003")}


def test_videos_named_as_in_faceforensics_keep_their_persons(tmp_path: Path) -> None:
    root = make(tmp_path, "ff/fake/Deepfakes/000_003.mp4", "ff/real/clips/000.mp4")
    samples = list(ImageFolder(root, group="^[0-9]+"))
    assert {(s.group, s.identities) for s in samples} == {
        ("ff/000", ("ff/000", "ff/003")),
        ("ff/000", ("ff/000",)),
    }


def test_videos_of_frames_share_an_identity_and_stay_videos(tmp_path: Path) -> None:
    root = make(tmp_path, "s/real/abc__1/1.png", "s/fake/abc__2/1.png", "s/fake/other/1.png")
    samples = list(FrameFolders(root, group="^(.+?)__"))
    assert {s.group: s.identities for s in samples} == {
        "s/real/abc__1": ("s/abc",),
        "s/fake/abc__2": ("s/abc",),
        "s/fake/other": ("s/other",),
    }


def test_sources_can_be_left_out(tmp_path: Path) -> None:
    root = make(tmp_path, "a/real/1.jpg", "b/fake/Deepfakes/2.jpg", "b/fake/FaceSwap/3.jpg", "c/strange/4.jpg")
    assert [source for *_, source, _ in read(root, without=("b", "c"))] == ["a"]
    assert [source for *_, source, _ in read(root, without=("b/FaceSwap", "c"))] == ["a", "b/Deepfakes"]
    with pytest.raises(TrainingDataError, match="no source 'd' to leave out; there are a, b/Deepfakes, b/FaceSwap, c"):
        read(root, without=("c", "d"))
