"""What a label means is said by a word, by the name of its column, by a layout or by a label map, and never guessed."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from layouts import kaggle, parquet, picture, tar_bytes, write

from deepfake_core.data.check import check
from deepfake_core.datasets.formats.csv_table import CsvTable
from deepfake_core.datasets.labels import labels_read
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path, {"a.jpg": b"", "b.jpg": b"", "train/real/c.jpg": b"", "train/fake/d.jpg": b""})


def read(root: Path, text: str, options: str = "") -> list[tuple[str, bool, str]]:
    write(root, {"t.csv": text})
    return [(s.path.name, s.is_fake, s.label) for s in open_dataset(f"csv:{root / 't.csv'}{options}")]


@pytest.mark.parametrize("pair", ["1,0", "0,1", "1.0,0.0", "True,False", "yes,no"])
def test_a_yes_or_no_asks_for_its_meaning_and_names_both_answers(root: Path, pair: str) -> None:
    first, second = pair.split(",")
    yes, no = (first, second) if first not in ("0", "no") else (second, first)
    text = f"path,label\na.jpg,{first}\nb.jpg,{second}\n"
    with pytest.raises(TrainingDataError, match=r"t\.csv: row 2: label") as caught:
        read(root, text)
    remedies = re.findall(r'"(csv:[^"]+)"', str(caught.value))
    assert remedies == [
        f"csv:{root / 't.csv'}?labels={yes}:fake,{no}:real",
        f"csv:{root / 't.csv'}?labels={yes}:real,{no}:fake",
    ]
    given = {yes: True, no: False}
    assert [s.is_fake for s in open_dataset(remedies[0])] == [given[first], given[second]]
    assert [s.is_fake for s in open_dataset(remedies[1])] == [not given[first], not given[second]]


def test_the_remedy_keeps_the_other_options(root: Path) -> None:
    write(root, {"tables/t.csv": "path,label\na.jpg,1\nb.jpg,0\n"})
    with pytest.raises(TrainingDataError) as caught:
        list(open_dataset(f"{root / 'tables/t.csv'}?root={root}&limit=9"))
    assert f'?root={root}&limit=9&labels=1:fake,0:real"' in str(caught.value)
    with pytest.raises(TrainingDataError) as caught:
        list(CsvTable(root / "tables" / "t.csv", root))
    assert f'"csv:{root / "tables/t.csv"}?root={root}&labels=1:fake,0:real"' in str(caught.value)


@pytest.mark.parametrize(("column", "fakes"), [("is_fake", "ad"), ("Fake", "ad"), ("is_real", "bc"), ("real", "bc")])
@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("1.0", "0.0"), ("yes", "no")])
def test_a_column_says_by_its_name_what_a_yes_means(root: Path, column: str, fakes: str, yes: str, no: str) -> None:
    rows = f"a.jpg,{yes}\nb.jpg,{no}\ntrain/real/c.jpg,{no}\ntrain/fake/d.jpg,{yes}\n"
    found = read(root, f"path,{column}\n{rows}")
    assert "".join(name[0] for name, is_fake, _ in found if is_fake) == fakes
    assert [label for *_, label in found] == [yes, no, no, yes]


def test_two_columns_that_could_be_the_label_are_named(root: Path) -> None:
    with pytest.raises(TrainingDataError, match="columns 'is_fake' and 'is_real' could be the label; choose") as caught:
        read(root, "path,is_fake,is_real\na.jpg,1,0\n")
    (remedy,) = re.findall(r'"(csv:[^"]+)"', str(caught.value))
    assert [s.is_fake for s in open_dataset(remedy)] == [True]


def test_columns_can_be_named(root: Path) -> None:
    assert read(root, "file,class\na.jpg,fake\n", "?path=file&label=class") == [("a.jpg", True, "fake")]
    with pytest.raises(
        TrainingDataError,
        match=r"no column 'path' and no column 'label'; its columns are 'file', 'class'; .*path=NAME&label=NAME",
    ):
        read(root, "file,class\na.jpg,fake\n")


def test_three_tables_of_splits_keep_kaggles_convention_and_say_so(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = write(
        root / "tables", dict.fromkeys(("train.csv", "valid.csv", "test.csv"), "path,label\na.jpg,1\nb.jpg,0\n")
    )
    write(tables, {"valid.csv": "path,label\ntrain/real/c.jpg,1\n", "test.csv": "path,label\ntrain/fake/d.jpg,0\n"})
    address = f"csv:{tables}?root={root}"
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        samples = list(open_dataset(address))
    assert {(s.path.name, s.is_fake) for s in samples} == {
        ("a.jpg", False), ("b.jpg", True), ("c.jpg", False), ("d.jpg", True)
    }  # fmt: skip
    (message,) = caplog.messages
    assert "1 and 0 are read as real and fake, as in Kaggle's tables; where 1 means fake, write" in message
    assert f'"{address}&labels=1:fake,0:real"' in message
    assert [s.is_fake for s in open_dataset(f"{address}&labels=1:fake,0:real") if s.path.name == "a.jpg"] == [True]
    write(tables, {"test.csv": "path,label\ntrain/fake/d.jpg,1\n"})
    with pytest.raises(
        TrainingDataError, match=r"test\.csv: row 2: label 1 is read as real, .* lies in a folder 'fake'"
    ):
        list(open_dataset(address))
    (tables / "test.csv").unlink()
    with pytest.raises(TrainingDataError, match=r"labels=1:fake,0:real"):
        list(open_dataset(address))


def test_the_words_of_kaggles_tables_are_read(tmp_path: Path) -> None:
    kaggle(tmp_path)
    samples = list(open_dataset(f"csv:{tmp_path / 'train.csv'}?root={tmp_path}/real_vs_fake/real-vs-fake"))
    assert [(s.path.parent.name, s.is_fake, s.label) for s in samples] == [
        ("real", False, "real"), ("fake", True, "fake")
    ]  # fmt: skip


def test_numbers_in_archives_ask_too(tmp_path: Path) -> None:
    write(tmp_path, {"a.tar": tar_bytes({"1.png": picture("fake"), "1.cls": b"1"})})
    with pytest.raises(TrainingDataError, match=r"1 means fake, in others real: .*a\.tar\?labels=1:fake,0:real"):
        list(open_dataset(f"shards:{tmp_path / 'a.tar'}"))


@pytest.mark.parametrize(
    ("values", "name", "fakes"),
    [
        ([1, 0], "is_fake", [True, False]),
        ([True, False], "is_real", [False, True]),
        ([1.0, 0.0], "fake", [True, False]),
    ],
)
def test_columns_of_parquet_files_say_it_too(
    tmp_path: Path, values: list[object], name: str, fakes: list[bool]
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"image": [b"a", b"b"], name: values}), tmp_path / "a.parquet")
    assert [s.is_fake for s in open_dataset(f"parquet:{tmp_path / 'a.parquet'}")] == fakes
    pq.write_table(pa.table({"image": [b"a", b"b"], "label": values}), tmp_path / "b.parquet")
    with pytest.raises(TrainingDataError, match=rf"labels={values[0]}:fake,{values[1]}:real"):
        list(open_dataset(f"parquet:{tmp_path / 'b.parquet'}"))


def test_numbers_of_hugging_face_without_names_ask(tmp_path: Path) -> None:
    hub = pytest.importorskip("datasets")
    for number, names in enumerate((["0", "1"], None)):
        label = hub.ClassLabel(names=names) if names else hub.Value("int64")
        features = hub.Features({"image": hub.Value("binary"), "label": label})
        hub.Dataset.from_dict({"image": [b"a"], "label": [1]}, features=features).save_to_disk(tmp_path / str(number))
        with pytest.raises(TrainingDataError, match=r"labels=1:fake,0:real"):
            list(open_dataset(f"hf:{tmp_path / str(number)}"))


def test_every_layout_says_the_labels_it_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    parquet(tmp_path / "rows")
    assert {(s.label, s.is_fake) for s in open_dataset(f"parquet:{tmp_path / 'rows'}")} == {
        ("real", False),
        ("fake", True),
    }


def test_the_check_says_how_labels_were_read(root: Path) -> None:
    write(root, {"t.csv": "path,label\na.jpg,1\nb.jpg,0\ntrain/fake/d.jpg,1\n"})
    report = check(open_dataset(f"csv:{root / 't.csv'}?labels=1:fake,0:real"))
    assert report.labels == "labels: '0' → real (1), '1' → fake (2)"
    assert report.to_dict()["labels"] == report.labels


def test_labels_are_described_with_counts() -> None:
    assert labels_read({("1", True): 12, ("0", False): 1000}) == "labels: '0' → real (1,000), '1' → fake (12)"
    assert labels_read({("", True): 2, ("", False): 1}) == "labels: real (1), fake (2)"
