"""Parquet files and Hugging Face datasets."""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts import hugging_face, parquet, picture

from deepfake_core.datasets.formats.hf import HuggingFace
from deepfake_core.datasets.formats.parquet import Parquet
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import MissingExtra, TrainingDataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
hub = pytest.importorskip("datasets")


def write_parquet(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_rows(tmp_path: Path) -> None:
    parquet(tmp_path / "set")
    dataset = Parquet(tmp_path / "set")
    samples = list(dataset)
    assert [(s.is_fake, s.group, s.source, s.member) for s in samples[:3]] == [
        (0, "g0", "set", "0"),
        (1, "g0", "set", "1"),
        (0, "g1", "set", "2"),
    ]
    assert dataset.read(samples[7]) == picture("fake", 7), "from the last of three row groups"


def test_parquet_listing_reads_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # 004-13
    parquet(tmp_path / "set")
    asked: list[list[str]] = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, **options: asked.append(options["columns"]) or real(self, **options),
    )
    list(Parquet(tmp_path / "set"))
    assert asked
    assert not any("image" in columns for columns in asked)


def test_parquet_columns_and_labels_can_be_named(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "set" / "a.parquet",
        jpg=[b"a", b"b"],
        target=[0, 1],
        split=["train", "val"],
        identity=["p;q", None],
        source=["web", ""],
    )
    dataset = open_dataset(f"parquet:{tmp_path / 'set'}?image=jpg&label=target&labels=0:fake,1:real")
    first, second = dataset
    assert (first.is_fake, first.split, first.identities, first.source) == (1, "train", ("p", "q"), "web")
    assert (second.is_fake, second.split, second.identities, second.source) == (0, "valid", (), "set")
    assert dataset.read(second) == b"b"


def test_numbers_and_lists_name_groups_and_persons(tmp_path: Path) -> None:
    columns = {"image": [b"a", b"b"], "label": ["real", "fake"], "group": [0, 0], "identity": [[0], [1, 0]]}
    for folder in ("x", "y"):
        write_parquet(tmp_path / folder / "0.parquet", **columns)
    samples = list(Parquet(tmp_path))
    assert [(s.group, s.identities) for s in samples[:2]] == [("0", ("0",)), ("0", ("1", "0"))]
    for folder in ("x", "y"):
        write_parquet(tmp_path / folder / "0.parquet", image=[b"a"], label=["real"])
    assert [s.group.partition("/")[2] for s in Parquet(tmp_path)] == ["x/0/0", "y/0/0"], "files of one name differ"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": [b"a"], "label": ["real"]}, "no column 'image'; its columns are picture, label"),
        ({"image": [b"a"]}, "no column 'label'"),
        ({"image": [b"a"], "label": [1]}, r"row 0: label '1' is not in the label map"),
        ({"image": [b"a"], "label": [None]}, r"row 0: label 'None'"),
    ],
)
def test_bad_parquet(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", **columns)
    with pytest.raises(TrainingDataError, match=rf"a.parquet: .*{message}"):
        list(Parquet(path))


def test_parquet_that_holds_no_pictures(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", image=[1], label=["real"])
    with pytest.raises(TrainingDataError, match="row 0: holds no bytes of a picture"):
        list(Parquet(path).stream())
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TrainingDataError, match=r"b.parquet: cannot be read as Parquet"):
        list(Parquet(tmp_path / "b.parquet"))
    whole = write_parquet(tmp_path / "whole.parquet", image=[bytes([n]) * 5000 for n in range(9)], label=["real"] * 9)
    content = bytearray(whole.read_bytes())
    content[20 : len(content) // 2] = bytes(len(content) // 2 - 20)  # its footer stays as it was
    (tmp_path / "damaged.parquet").write_bytes(content)
    with pytest.raises(TrainingDataError, match=r"damaged.parquet: cannot be read as Parquet"):
        list(Parquet(tmp_path / "damaged.parquet").stream())
    with pytest.raises(TrainingDataError, match=r"absent.parquet: cannot be read"):
        list(Parquet(tmp_path / "absent.parquet"))
    (tmp_path / "none").mkdir()
    with pytest.raises(TrainingDataError, match=r"no .parquet files"):
        list(Parquet(tmp_path / "none"))


def test_parquet_as_hugging_face_writes_it_names_its_classes(tmp_path: Path) -> None:
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=["Real", "Fake"])})
    cells = [{"bytes": picture(kind), "path": None} for kind in ("real", "fake")]
    hub.Dataset.from_dict({"image": cells, "label": [0, 1]}, features=features).to_parquet(tmp_path / "a.parquet")
    assert [s.is_fake for s in Parquet(tmp_path / "a.parquet")] == [0, 1]
    with pytest.raises(TrainingDataError, match="label 'Real' is not in the label map"):
        list(Parquet(tmp_path / "a.parquet", labels={"0": 0, "1": 1}))


def test_hugging_face_splits_and_class_names(tmp_path: Path) -> None:
    hugging_face(tmp_path / "saved")
    samples = list(HuggingFace(tmp_path / "saved"))
    assert [(s.is_fake, s.split, s.member, s.group) for s in samples] == [
        (1, "train", "train/0", "saved/train/0"),
        (0, "train", "train/1", "saved/train/1"),
        (1, "train", "train/2", "saved/train/2"),
        (0, "train", "train/3", "saved/train/3"),
        (1, "valid", "validation/0", "saved/validation/0"),
        (0, "valid", "validation/1", "saved/validation/1"),
    ]
    assert len(list(open_dataset(f"hf:{tmp_path / 'saved'}?split=validation"))) == 2
    with pytest.raises(TrainingDataError, match="no split 'test'; there are train, validation"):
        list(HuggingFace(tmp_path / "saved", split="test"))


def test_hugging_face_tells_when_its_content_changes(tmp_path: Path) -> None:
    states = []
    for content in (b"a", b"a", b"b"):
        part = hub.Dataset.from_dict({"image": [content], "label": ["real"]})
        part.save_to_disk(tmp_path / content.decode())
        dataset = HuggingFace(tmp_path / content.decode())
        states.append(dataset.state(next(iter(dataset))))
    assert states[0] == states[1] != states[2]


def test_hugging_face_splits_in_other_spellings(tmp_path: Path) -> None:
    part = hub.Dataset.from_dict({"image": [b"a"], "label": ["real"], "group": [0]})
    hub.DatasetDict({"val": part, "extra": part}).save_to_disk(tmp_path / "splits")
    assert [(s.split, s.group) for s in HuggingFace(tmp_path / "splits")] == [("valid", "0"), ("", "0")]
    part.save_to_disk(tmp_path / "alone")
    assert [s.split for s in HuggingFace(tmp_path / "alone")] == [""], "it does not say"
    with pytest.raises(TrainingDataError, match="no split 'test'; there are all"):
        list(HuggingFace(tmp_path / "alone", split="test"))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library keeps its cache here and never asks the network."""
    monkeypatch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub.config, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_local_folder(tmp_path: Path, offline: None, streaming: bool) -> None:
    features = hub.Features(
        {"picture": hub.Image(), "other": hub.Image(), "kind": hub.ClassLabel(names=["genuine", "swap"])}
    )
    cells = [{"bytes": picture(kind, 3), "path": None} for kind in ("real", "fake")]
    columns = {"picture": cells, "other": cells, "kind": [0, 1]}
    (tmp_path / "local").mkdir()
    hub.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "local" / "train.parquet")
    address = f"hf:{tmp_path / 'local'}?streaming={str(streaming).lower()}"
    with pytest.raises(TrainingDataError, match=r"which column is the image. columns picture, other could be it"):
        list(open_dataset(address))
    with pytest.raises(TrainingDataError, match="label 'genuine' is not in the label map"):  # resolution 1
        list(open_dataset(f"{address}&image=picture"))
    dataset = open_dataset(f"{address}&image=picture&labels=genuine:real,swap:fake")
    (first, content), (second, _) = dataset.stream()
    assert (first.is_fake, second.is_fake, first.split) == (0, 1, "train")
    assert content == picture("real", 3)
    assert dataset.read(second) == picture("fake", 3)


def test_hugging_face_columns_without_types(tmp_path: Path) -> None:
    hub.Dataset.from_dict({"a": [1], "b": [2]}).save_to_disk(tmp_path / "plain")
    with pytest.raises(
        TrainingDataError, match=r"which column is the image. its columns are a, b: choose by image=NAME"
    ):
        list(HuggingFace(tmp_path / "plain"))
    with pytest.raises(TrainingDataError, match="no column 'c'; its columns are a, b"):
        list(HuggingFace(tmp_path / "plain", image="c"))
    with pytest.raises(TrainingDataError, match="row 0: label '2' is not in the label map"):
        list(HuggingFace(tmp_path / "plain", image="a", label="b"))
    with pytest.raises(TrainingDataError, match="row 0: holds no bytes of a picture"):
        list(HuggingFace(tmp_path / "plain", image="a", label="b", labels={"2": 1}).stream())


def test_hugging_face_without_network(tmp_path: Path, offline: None) -> None:
    with pytest.raises(
        TrainingDataError, match=r"someone/something: cannot be loaded .*download it and name the folder"
    ):
        list(HuggingFace("someone/something"))


@pytest.mark.parametrize(("layout", "module"), [(Parquet, "pyarrow"), (HuggingFace, "datasets")])
def test_missing_library_names_the_extra(layout: type, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'deepfake-core\[data\]'"):
        list(layout("x"))
