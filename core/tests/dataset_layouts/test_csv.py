"""CSV files of pictures (001-2)."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_core.datasets.formats.csv_table import CsvTable
from deepfake_core.datasets.labels import LABELS
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.datasets.tables import rows
from deepfake_core.errors import TrainingDataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


REAL_IS_1 = {"1": 0, "0": 1}


def table(root: Path, text: str, **options: object) -> CsvTable:
    (root / "t.csv").write_text(text, encoding="utf-8")
    return CsvTable(root / "t.csv", **{"labels": REAL_IS_1, **options})  # type: ignore[arg-type]


def test_other_columns_are_ignored(root: Path) -> None:  # 001-2
    samples = list(table(root, "extra,label,path\n9,1,a.jpg\n9,0,sub/c.jpg\n"))
    assert [(s.path, s.is_fake) for s in samples] == [(root / "a.jpg", 0), (root / "sub/c.jpg", 1)]
    assert [(s.source, s.group, s.split, s.identities) for s in samples] == [
        (root.name, f"{root.name}/a", "", ()),
        (root.name, f"{root.name}/sub/c", "", ()),
    ]


def test_root_and_absolute_paths(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # 001-2
    elsewhere = tmp_path_factory.mktemp("tables") / "t.csv"
    elsewhere.write_text(f"path,label\nb.jpg,real\n{root / 'a.jpg'},fake\n")
    samples = list(open_dataset(f"csv:{elsewhere}?root={root}"))
    assert [s.path for s in samples] == [root / "b.jpg", root / "a.jpg"]


def test_optional_columns_are_taken_as_they_are(root: Path) -> None:
    text = "path,label,source,group,split,identity\na.jpg,1,web,g1,val,p1; p2\nb.jpg,0,,,,\n"
    first, second = table(root, text)
    assert (first.source, first.group, first.split, first.identities) == ("web", "g1", "valid", ("p1", "p2"))
    assert (second.source, second.group, second.split, second.identities) == (root.name, f"{root.name}/b", "", ())


def test_folder_with_one_file_per_split(root: Path) -> None:  # 001-2
    for split, name in {"train": "a.jpg", "valid": "b.jpg", "test": "sub/c.jpg"}.items():
        (root / f"{split}.csv").write_text(f"path,label\n{name},1\n")
    (root / "notes.csv").write_text("anything\n")
    samples = list(open_dataset(f"csv:{root}"))
    assert {s.split: s.path.name for s in samples} == {"train": "a.jpg", "valid": "b.jpg", "test": "c.jpg"}
    assert {s.source for s in samples} == {root.name}
    (root / "val.csv").write_text("path,label\nb.jpg,1\n")
    with pytest.raises(TrainingDataError, match="two files for the split 'valid'"):
        list(open_dataset(f"csv:{root}"))


def test_own_label_map(root: Path) -> None:  # resolution 1
    samples = table(root, "path,label\na.jpg,genuine\nb.jpg,swap\n", labels={"genuine": 0, "swap": 1})
    assert [s.is_fake for s in samples] == [0, 1]


def test_words_as_labels(root: Path) -> None:
    assert [s.is_fake for s in table(root, "path,label\na.jpg,REAL\nb.jpg,Fake\n", labels=LABELS)] == [0, 1]


def test_byte_order_mark_quotes_and_blank_lines(root: Path) -> None:
    (root / 'q,"1.jpg').touch()
    samples = list(table(root, '\ufeffpath,label\r\n\r\n"q,""1.jpg",0\r\n'))
    assert samples[0].path == root / 'q,"1.jpg'


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_encodings_and_the_case_of_columns(root: Path, separator: str, encoding: str) -> None:
    lines = [["Path", "LABEL", "Identity"], ["sub/c.jpg", "fake", '"é;b"']]
    (root / "t.csv").write_text("\n".join(map(separator.join, lines)), encoding=encoding)
    (sample,) = open_dataset(root / "t.csv")
    assert (sample.path, sample.is_fake, sample.identities) == (root / "sub/c.jpg", True, ("é", "b"))


def test_line_breaks_within_quotes_and_columns_that_differ_in_case(root: Path) -> None:
    (root / "x\ny.jpg").touch()
    (sample,) = table(root, 'path,label\n"x\ny.jpg",1\n')
    assert sample.path == root / "x\ny.jpg"
    with pytest.raises(TrainingDataError, match="column 'label' is there twice"):
        list(table(root, "path,label,Label\na.jpg,1,0\n"))


@pytest.mark.skipif(os.sep != "/", reason="on Windows, a backslash separates folders")
def test_backslashes_and_paths_of_windows(root: Path) -> None:
    (root / "odd\\name.jpg").touch()
    paths = [s.path for s in table(root, "path,label\nsub\\c.jpg,1\n.\\a.jpg,0\nodd\\name.jpg,0\n")]
    assert paths == [root / "sub/c.jpg", root / "a.jpg", root / "odd\\name.jpg"]
    for path in ("C:\\data\\a.jpg", "c:/data/a.jpg", "\\\\server\\share\\a.jpg"):
        with pytest.raises(TrainingDataError, match=r"row 2: .* is an absolute path of Windows; .*\?.*root=FOLDER"):
            list(table(root, f"path,label\n{path},1\n"))
    with pytest.raises(TrainingDataError, match=r"row 2: .* leads outside"):
        list(table(root, "path,label\n..\\x.jpg,1\n"))


def test_absolute_paths_that_are_not_there_are_not_a_matter_of_the_root(root: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"make its absolute paths relative to a folder, and name it: .*root="):
        list(table(root, "path,label\n/gone/a.jpg,1\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected the columns path, label"),
        ("path,label\n", "has no rows"),
        ("file,label\na.jpg,1\n", "no column 'path'; its columns are 'file', 'label'"),
        ("path label\na.jpg 1\n", "no column 'path' and no column 'label'; its columns are 'path label'"),
        ("path,label,label\na.jpg,1,0\n", "column 'label' is there twice"),
        ("path,label\na.jpg,1\nb.jpg,2\n", r"row 3: label '2' is not in the label map \(1:real, 0:fake\)"),
        ("path,label\na.jpg,\n", "row 2: label ''"),
        ("path,label\na.jpg,1.0\n", "row 2: label '1.0'"),
        ("path,label\na.jpg,1\n../x.jpg,0\n", "row 3: path '../x.jpg' leads outside"),
        ("path,label\nsub/../../x.jpg,0\n", "row 2: .* leads outside"),
        ("path,label\n/etc/../x.jpg,0\n", "row 2: .* leads outside"),
        ("path,label\n,0\n", "row 2: the path is empty"),
        ("path,label\n/,0\n", "row 2: the path is empty or no path"),
        (f"path,label\n{'x' * 300}.jpg,1\n", "none of the first 1 files exists"),
        ("path,label\na.jpg\n", "row 2 has 1 cells, the header 2"),
        ("path,label\na.jpg,1,2\n", "row 2 has 3 cells, the header 2"),
        ('path,label\n"a.jpg,1\nb.jpg,0\n', "row 3: unexpected end of data"),
        ("path,label,split\na.jpg,1,later\n", "row 2: split 'later'"),
        ("path,label\nx.jpg,1\ny.jpg,0\n", "none of the first 2 files exists, such as .*x.jpg; .*root=FOLDER"),
        ("path,label\na.jpg,1\nb.jpg,1\na.jpg,0\n", "row 4 gives .*a.jpg another label than .*t.csv row 2"),
        ("path,label,split\na.jpg,1,train\na.jpg,1,test\n", "row 3 gives .*a.jpg another split"),
    ],
)
def test_bad_tables_are_errors_that_name_the_row(root: Path, text: str, message: str) -> None:
    with pytest.raises(TrainingDataError, match=message) as caught:
        list(table(root, text))
    assert str(root / "t.csv") in str(caught.value)


def test_not_a_text_file(root: Path) -> None:
    (root / "t.csv").write_bytes(b"path,label\n\xff\xfe,1\n")
    with pytest.raises(TrainingDataError, match="is not UTF-8"):
        list(CsvTable(root / "t.csv"))
    (root / "t.csv").write_bytes("path,label\na.jpg,1\n".encode("utf-16-le"))
    with pytest.raises(TrainingDataError, match="perhaps UTF-16 without a mark; save it as UTF-8"):
        list(CsvTable(root / "t.csv"))
    with pytest.raises(TrainingDataError, match=r"absent.csv: cannot be read"):
        list(CsvTable(root / "absent.csv"))


def test_errors_come_before_the_first_sample(root: Path) -> None:
    with pytest.raises(TrainingDataError, match="row 3"):
        next(iter(table(root, "path,label\na.jpg,1\nb.jpg,7\n")))


def test_repeated_rows_are_counted_and_dropped(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "deepfake.datasets"):
        samples = list(table(root, "path,label\na.jpg,1\nb.jpg,0\n./a.jpg,1\na.jpg,1\n"))
    assert [s.path.name for s in samples] == ["a.jpg", "b.jpg"]
    assert "2 rows repeat an earlier one and are left out: t.csv row 4, t.csv row 5" in caplog.text


def test_missing_picture_is_left_to_the_reader(root: Path) -> None:  # 001-26
    assert len(list(table(root, "path,label\na.jpg,1\ngone.jpg,0\n"))) == 2


@pytest.mark.parametrize("limit", [1, 2, 7, 30, 99, 100, 1000])
def test_limit_keeps_the_proportions(root: Path, limit: int) -> None:  # 001-9
    # Classes alternate, which a stride of two would turn into one class.
    lines = [f"{number % 4}/a{number}.jpg,{int(number % 4 == 0)}" for number in range(100)]
    (root / "1").mkdir()
    (root / "1" / "a1.jpg").touch()
    samples = list(table(root, "\n".join(["path,label", *lines]), limit=limit))
    counts = Counter(s.is_fake for s in samples)
    assert len(samples) == min(limit, 100)
    assert abs(counts[0] - min(limit, 100) / 4) <= 1
    if limit > 1:
        assert counts[0]
        assert counts[1]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8).map(str.strip)


@settings(max_examples=50)
@given(cells=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6))
def test_any_cells_come_back(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str]]) -> None:
    file = tmp_path_factory.getbasetemp() / "cells.csv"
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("path", "label", "more"), *cells])
    file.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    assert [tuple(row.values()) for _, row in rows(file, ("path", "label"))] == cells


@settings(max_examples=50)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_rows_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.csv"
    file.write_bytes(b"path,label\n" + content)
    with contextlib.suppress(TrainingDataError):
        assert list(CsvTable(file))
