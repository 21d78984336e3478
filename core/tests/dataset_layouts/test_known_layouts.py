"""Labels, groups, identities and splits of the published datasets, in their layouts."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from layouts import celeb_df, dfdc, faceforensics, frame_folders, kaggle, picture, video, video_pairs, write

from deepfake_core.datasets.layouts.celeb_df import CelebDF
from deepfake_core.datasets.layouts.dfdc import Dfdc
from deepfake_core.datasets.layouts.faceforensics import FaceForensics
from deepfake_core.datasets.layouts.frame_folders import FrameFolders
from deepfake_core.datasets.layouts.kaggle import Kaggle140k
from deepfake_core.datasets.layouts.video_pairs import VideoPairs
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError


@pytest.mark.parametrize(
    "inner", ["real_vs_fake/real-vs-fake", "real_vs_fake/real_vs_fake", "real-vs-fake", "real_vs_fake", "."]
)
def test_kaggle_in_every_spelling(tmp_path: Path, inner: str) -> None:  # 001-3, resolution 4
    kaggle(tmp_path, inner)
    samples = list(Kaggle140k(tmp_path))
    assert [(s.is_fake, s.split, s.group) for s in samples] == [
        (1, "test", "140k/test/fake/3"),
        (0, "test", "140k/test/real/3"),
        (1, "train", "140k/train/fake/1"),
        (0, "train", "140k/train/real/1"),
        (1, "valid", "140k/valid/fake/2"),
        (0, "valid", "140k/valid/real/2"),
    ]
    assert {s.source for s in samples} == {"140k"}


def test_kaggle_by_its_own_csv_files(tmp_path: Path) -> None:  # 001-3
    kaggle(tmp_path)
    for split in ("train", "valid", "test"):
        by_table = list(open_dataset(f"kaggle-140k:{tmp_path / split}.csv"))
        assert sorted(by_table, key=str) == sorted((s for s in Kaggle140k(tmp_path) if s.split == split), key=str)
    # The same file is a plain table, too: the split is then the caller's to say.
    plain = list(open_dataset(f"csv:{tmp_path / 'train.csv'}?root={tmp_path}/real_vs_fake/real-vs-fake"))
    assert [(s.path, s.is_fake) for s in plain] == [
        (s.path, s.is_fake) for s in open_dataset(f"kaggle-140k:{tmp_path}/train.csv")
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,x,1,0,fake,train/real/1.jpg", r"row 2: label 0 \(1 = real\) does not agree with .*train/real/1.jpg"),
        ("0,x,1,1,real,elsewhere/real/1.jpg", "row 2: .* does not agree"),
        ("0,x,1,1,real,train/real", "row 2: .* does not agree"),
        ("0,x,1,2,real,train/real/1.jpg", "row 2: label '2'"),
        ("0,x,1,1,real,../train/real/1.jpg", "row 2: .* leads outside"),
        ("0,x,1,1,real,/train/real/1.jpg", "row 2: .* leads outside"),
    ],
)
def test_kaggle_rows_that_contradict_themselves(tmp_path: Path, row: str, message: str) -> None:
    kaggle(tmp_path)
    write(tmp_path, {"train.csv": f",original_path,id,label,label_str,path\n{row}\n"})
    with pytest.raises(TrainingDataError, match=message):
        list(Kaggle140k(tmp_path / "train.csv"))


def test_kaggle_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingDataError, match=r"no folders train, valid and test; expected real_vs_fake/real-vs-fake"
    ):
        list(Kaggle140k(tmp_path))


def test_frame_folders_group_and_number_frames(tmp_path: Path) -> None:  # 003-7
    frame_folders(tmp_path / "set")
    write(tmp_path / "set", {"fake/id0_id3_0001/1.jpg": b"x", "real/id0_0001/1.jpg": b"x", "real/empty/readme": b""})
    samples = list(FrameFolders(tmp_path / "set"))
    frames = [(s.path.name, s.frame) for s in samples if s.group == "set/real/7"]
    assert frames == [("1.jpg", 0), ("2.jpg", 1), ("10.jpg", 2)], "10 comes after 2"
    identities = {s.group: s.identities for s in samples}
    assert identities == {
        "set/real/7": ("set/7",),
        "set/fake/7": ("set/7",),
        "set/fake/id0_id3_0001": ("set/id0", "set/id3"),
        "set/real/id0_0001": ("set/id0",),
    }


def test_frame_folders_of_splits_number_their_videos_anew(tmp_path: Path) -> None:
    names = [
        f"{split}/{kind}/{video}/1.jpg" for split in ("train", "val") for kind in ("real", "fake") for video in "7"
    ]
    write(tmp_path / "set", dict.fromkeys([*names, "train/fake/id0_id3_0001/1.jpg"], b"x"))
    found = {(s.split, s.identities) for s in FrameFolders(tmp_path / "set")}
    assert found == {
        ("train", ("set/train/7",)),
        ("valid", ("set/val/7",)),
        ("train", ("set/id0", "set/id3")),
    }


def test_frame_folders_refuse_loose_pictures(tmp_path: Path) -> None:
    write(tmp_path, {"real/7/1.jpg": b"", "real/1.jpg": b"", "real/._7.jpg": b"a hidden file is none"})
    with pytest.raises(TrainingDataError, match=r"real/1.jpg: lies outside of a video's folder"):
        list(FrameFolders(tmp_path))


def test_video_pairs_share_an_identity(tmp_path: Path) -> None:  # 003-7, resolution 7
    video_pairs(tmp_path / "set")
    write(tmp_path / "set", {"real/unlisted/1.jpg": b"", "fake/unlisted/1.jpg": b""})
    samples = list(VideoPairs(tmp_path / "set" / "pairs.csv"))
    assert {s.group: s.identities for s in samples} == {
        "set/real/a": ("set/a",),
        "set/fake/a1": ("set/a",),
        "set/fake/a2": ("set/a",),
        "set/real/b": ("set/b",),
        "set/fake/b1.mp4": ("set/b",),
    }
    assert [(s.path.name, s.frame) for s in samples if s.group == "set/real/a"] == [("9.jpg", 0), ("10.jpg", 1)]


def test_video_pairs_elsewhere_with_splits(tmp_path: Path) -> None:
    video_pairs(tmp_path / "set")
    write(tmp_path, {"mine.csv": "fake,real,split\na1,a,train\nb1.mp4,b,val\n"})
    samples = list(open_dataset(f"video-pairs:{tmp_path / 'mine.csv'}?root={tmp_path / 'set'}"))
    assert {s.group: s.split for s in samples} == {
        "set/real/a": "train",
        "set/fake/a1": "train",
        "set/real/b": "valid",
        "set/fake/b1.mp4": "valid",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("real,score\na,1\n", "no column 'fake'"),
        ("real,fake\n", "has no rows"),
        ("real,fake\na,zzz\n", "row 2: .*fake/zzz is neither a folder of frames nor a video"),
        ("real,fake\na,../real/a\n", "row 2: path '../real/a' leads outside"),
        ("real,fake\na,../../x\n", "row 2: path '../../x' leads outside"),
        ("real,fake\na,/x\n", "row 2: path '/x' leads outside"),
        ("real,fake\na,\n", "row 2: the path is empty"),
        (f"real,fake\na,{'x' * 300}\n", "row 2: .*x is neither a folder of frames nor a video"),
        ("real,fake\na,fake/empty\n", "row 2: .*fake/empty holds no pictures"),
        ("real,fake,split\na,a1,train\na,a2,test\n", "row 3: real video 'a' is in 'test' here and in 'train' in row 2"),
        ("real,fake,split\na,a1,train\na,a2,\n", "row 3: real video 'a' is in 'no split' here"),
    ],
)
def test_bad_video_pairs(tmp_path: Path, text: str, message: str) -> None:
    video_pairs(tmp_path)
    (tmp_path / "fake" / "empty").mkdir()
    write(tmp_path, {"pairs.csv": text})
    with pytest.raises(TrainingDataError, match=message) as caught:
        list(VideoPairs(tmp_path / "pairs.csv"))
    assert str(tmp_path / "pairs.csv") in str(caught.value)


def test_video_pairs_named_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video_pairs(tmp_path)
    write(tmp_path, {"pairs.csv": "real,fake\na,a1\na,a1\n"})
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        assert len(list(VideoPairs(tmp_path / "pairs.csv"))) == 3
    assert "1 rows repeat an earlier pair: row 3" in caplog.text


def test_celeb_df_groups_by_both_identities(tmp_path: Path) -> None:
    celeb_df(tmp_path)
    assert [(s.group, s.is_fake, s.split, s.identities) for s in CelebDF(tmp_path)] == [
        ("celeb-df-v2/Celeb-real/id0_0000", 0, "train", ("celeb-df-v2/id0",)),
        ("celeb-df-v2/Celeb-real/id1_0000", 0, "train", ("celeb-df-v2/id1",)),
        ("celeb-df-v2/YouTube-real/00001", 0, "test", ()),
        ("celeb-df-v2/Celeb-synthesis/id0_id1_0000", 1, "test", ("celeb-df-v2/id0", "celeb-df-v2/id1")),
    ]


def test_celeb_df_without_its_list(tmp_path: Path) -> None:
    celeb_df(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").unlink()
    assert {s.split for s in CelebDF(tmp_path)} == {""}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 Celeb-real/id0_0000.mp4", r"row 2: label 0 \(1 = real\) does not agree with the folder"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", "row 2: label 1"),
        ("1 Elsewhere/x.mp4", "row 2: .* does not agree"),
        ("real Celeb-real/id0_0000.mp4", "row 2: label 'real'"),
        ("1 ../Celeb-real/x.mp4", "row 2: .* leads outside"),
        ("1", "row 2: the path is empty"),
    ],
)
def test_celeb_df_list_that_contradicts_the_folders(tmp_path: Path, line: str, message: str) -> None:
    celeb_df(tmp_path)
    write(tmp_path, {"List_of_testing_videos.txt": f"1 YouTube-real/00001.mp4\n{line}\n"})
    with pytest.raises(TrainingDataError, match=message):
        list(CelebDF(tmp_path))


def test_celeb_df_counts_listed_videos_that_are_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    celeb_df(tmp_path)
    write(tmp_path, {"List_of_testing_videos.txt": f"1 YouTube-real/00001.mp4\n1 YouTube-real/{'2' * 300}.mp4\n"})
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        list(CelebDF(tmp_path))
    assert "1 of 2 listed videos are absent: YouTube-real/222" in caplog.text
    with pytest.raises(TrainingDataError, match="none of the folders Celeb-real"):
        list(CelebDF(tmp_path / "YouTube-real"))


def test_faceforensics_keys_include_the_manipulation(tmp_path: Path) -> None:
    faceforensics(tmp_path)
    samples = {s.group: (s.is_fake, s.split, s.identities) for s in FaceForensics(tmp_path)}
    ids = {number: f"faceforensics/{number:03}" for number in range(4)}
    assert samples == {
        "faceforensics/youtube/000": (0, "train", (ids[0],)),
        "faceforensics/youtube/001": (0, "train", (ids[1],)),
        "faceforensics/youtube/002": (0, "valid", (ids[2],)),
        "faceforensics/youtube/003": (0, "valid", (ids[3],)),
        "faceforensics/Deepfakes/000_001": (1, "train", (ids[0], ids[1])),
        "faceforensics/Deepfakes/002_003": (1, "valid", (ids[2], ids[3])),
        "faceforensics/FaceSwap/000_001": (1, "train", (ids[0], ids[1])),
        "faceforensics/FaceSwap/002_003": (1, "valid", (ids[2], ids[3])),
    }


def test_faceforensics_compression_and_manipulations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    faceforensics(tmp_path)
    (raw,) = open_dataset(f"faceforensics:{tmp_path}?compression=raw")
    assert "/raw/" in raw.path.as_posix()
    swaps = [s for s in open_dataset(f"faceforensics:{tmp_path}?manipulations=FaceSwap") if s.is_fake]
    assert {s.group.split("/")[1] for s in swaps} == {"FaceSwap"}
    with pytest.raises(TrainingDataError, match="no videos of compression c40"):
        list(FaceForensics(tmp_path, compression="c40"))
    with pytest.raises(TrainingDataError, match="NeuralTextures/c23/videos: cannot be listed"):
        list(FaceForensics(tmp_path, manipulations=("NeuralTextures",)))
    (tmp_path / "manipulated_sequences" / "DeepFakeDetection").mkdir()
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        list(FaceForensics(tmp_path))
    assert "passed over DeepFakeDetection" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("splits/train.json", '[["000", "002"]]', "id 002 is in 'train' and in 'valid'|id 002 is in 'valid' and in"),
        ("splits/train.json", '[["000"]]', "000_001.mp4: its two ids are in different splits"),
        ("splits/train.json", "[[", "train.json: cannot be read"),
        ("splits/train.json", '{"a": 1}', "train.json: expected train, val or test.json"),
        ("splits/other.json", "[]", "other.json: expected train"),
        ("splits/train.json", "[[0, 1]]", r"train.json: \[0, 1\] is no pair of ids"),
        ("manipulated_sequences/Deepfakes/c23/videos/x.mp4", "", "x.mp4: expected the name 000_003.mp4"),
        ("original_sequences/youtube/c23/videos/000_001.mp4", "", "000_001.mp4: expected the name 000.mp4"),
    ],
)
def test_faceforensics_that_contradicts_itself(tmp_path: Path, name: str, content: str, message: str) -> None:
    faceforensics(tmp_path)
    write(tmp_path, {name: content})
    with pytest.raises(TrainingDataError, match=message):
        list(FaceForensics(tmp_path))


def test_dfdc_groups_by_original_which_may_be_absent(tmp_path: Path) -> None:
    dfdc(tmp_path)
    samples = list(Dfdc(tmp_path))
    assert [(s.path.name, s.is_fake, s.group, s.split) for s in samples[:3]] == [
        ("a0.mp4", 0, "dfdc/a0", "train"),
        ("b0.mp4", 1, "dfdc/a0", "train"),
        ("c0.mp4", 1, "dfdc/c0", "train"),
    ]
    assert len(samples) == 6
    assert list(Dfdc(tmp_path / "dfdc_train_part_0")) == samples[:3]


def test_dfdc_counts_described_videos_that_are_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dfdc(tmp_path)
    (tmp_path / "dfdc_train_part_1" / "b1.mp4").unlink()
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        assert len(list(Dfdc(tmp_path))) == 5
    assert "1 of 6 described videos are absent: dfdc_train_part_1/b1.mp4" in caplog.text
    for path in tmp_path.rglob("*.mp4"):
        path.unlink()
    with pytest.raises(TrainingDataError, match="none of 6 described videos is there"):
        list(Dfdc(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "metadata.json: cannot be read"),
        ("[1]", "metadata.json: expected an object"),
        (json.dumps({"a.mp4": {"split": "train"}}), "metadata.json: a.mp4: has no label"),
        (
            json.dumps({"a.mp4": {"label": "SYNTHETIC"}}),
            "metadata.json: a.mp4: label 'SYNTHETIC' is not in the label map",
        ),
        (json.dumps({"a.mp4": {"label": 1}}), "metadata.json: a.mp4: label '1'"),
        (json.dumps({f"{'x' * 300}.mp4": {"label": "FAKE"}}), "none of 1 described videos is there"),
        (json.dumps({"../a.mp4": {"label": "FAKE"}}), "leads outside"),
        (json.dumps({"/a.mp4": {"label": "FAKE"}}), "leads outside"),
    ],
)
def test_dfdc_with_bad_metadata(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path / "dfdc_train_part_0", {"metadata.json": content, "a.mp4": video("fake")})
    with pytest.raises(TrainingDataError, match=message):
        list(Dfdc(tmp_path))
    with pytest.raises(TrainingDataError, match=r"no metadata.json"):
        list(Dfdc(tmp_path / "elsewhere"))


def test_links_within_a_dataset_are_the_owners_business(tmp_path: Path) -> None:
    write(tmp_path / "disk", {"1.jpg": picture("real")})
    (tmp_path / "set" / "real").mkdir(parents=True)
    (tmp_path / "set" / "real" / "1.jpg").symlink_to(tmp_path / "disk" / "1.jpg")
    (sample,) = open_dataset(f"image-folder:{tmp_path / 'set'}")
    assert sample.path.read_bytes() == picture("real")
