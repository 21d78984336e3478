"""What a user types becomes a dataset."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from layouts import csv_file, image_folder, kaggle, picture, shards, write

from deepfake_core.datasets import Dataset
from deepfake_core.datasets.address import Address
from deepfake_core.datasets.formats.csv_table import CsvTable
from deepfake_core.datasets.labels import LABELS, parse_labels
from deepfake_core.datasets.layouts.celeb_df import CelebDF
from deepfake_core.datasets.layouts.faceforensics import FaceForensics
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.datasets.layouts.sample import SampleFaces
from deepfake_core.datasets.opening import open_dataset, parse
from deepfake_core.discovery import plugins
from deepfake_core.errors import TrainingDataError


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("data/pictures", Address("", "data/pictures")),
        ("csv:a.csv", Address("csv", "a.csv")),
        ("csv:a.csv?limit=5&root=/x%20y%26z", Address("csv", "a.csv", {"limit": "5", "root": "/x y&z"})),
        ("celeb-df-v2:/data/x", Address("celeb-df-v2", "/data/x")),
        (r"C:\data\x", Address("", r"C:\data\x")),
        ("d:/data/x?limit=1", Address("", "d:/data/x", {"limit": "1"})),
        (r"csv:C:\data\x.csv", Address("csv", r"C:\data\x.csv")),
        ("wilddeepfake:hf://datasets/a/b", Address("wilddeepfake", "hf://datasets/a/b")),
        ("hf://datasets/a/b", Address("", "hf://datasets/a/b")),
        ("sample", Address("sample", "")),
        ("sample:", Address("sample", "")),
        ("csv:why?.csv?limit=2", Address("csv", "why?.csv", {"limit": "2"})),
        (
            "image-folder:x?group=^(.+?)__&without=a,b",
            Address("image-folder", "x", {"group": "^(.+?)__", "without": "a,b"}),
        ),
        (Path("csv:a.csv?limit=5"), Address("", "csv:a.csv?limit=5")),
    ],
)
def test_parts(spec: str | Path, expected: Address) -> None:
    assert parse(spec) == expected


def test_what_exists_is_a_path_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("csv:odd", "what?limit=1", "sample"):
        image_folder(tmp_path / name)
        assert parse(name) == Address("", name)
        assert isinstance(open_dataset(name), ImageFolder)
    assert parse("image-folder:what?limit=1") == Address("image-folder", "what?limit=1")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "names no dataset"),
        ("csv:a.csv?limit", "option 'limit' is not key=value"),
        ("csv:a.csv?=3", "is not key=value"),
        ("csv:a.csv?limit=1&limit=2", "'limit' is given twice"),
        ("csv:a.csv?limt=3", "no option 'limt'; did you mean 'limit'"),
        ("celeb-df-v2:x?zzz=3", "no option 'zzz'; there are: none"),
        ("csv:a.csv?limit=many", "option limit=many: .*integer"),
        ("csv:a.csv?limit=0", "limit must be at least 1"),
        ("csv:a.csv?labels=0:maybe", "'0:maybe' is not VALUE:fake or VALUE:real"),
        ("csv:a.csv?labels=0:fake,0:real", "'0' is said to be both"),
        ("faceforensics:x?compression=c99", "option compression=c99: .*'raw', 'c23' or 'c40'"),
        ("faceforensics:x?manipulations=Deepfake", "no manipulation 'Deepfake'"),
        ("hf:x?streaming=perhaps", "option streaming=perhaps"),
        ("celeb-df:x", "unknown dataset layout 'celeb-df'; did you mean 'celeb-df-v2'"),
        ("nonsense:x", "unknown dataset layout 'nonsense'; installed: .*image-folder"),
        ("csv:", "csv needs a path"),
        ("/no/such/folder", "no such file or folder"),
        ("no\0such", "no such file or folder"),
    ],
)
def test_errors_say_what_is_possible(spec: str, message: str) -> None:
    with pytest.raises(TrainingDataError, match=message):
        open_dataset(spec)


def test_options_become_typed_arguments(tmp_path: Path) -> None:
    dataset = open_dataset(f"csv:{tmp_path / 'a.csv'}?limit=3&labels=9:fake,8:real&root={tmp_path}/p")
    assert isinstance(dataset, CsvTable)
    assert (dataset.limit, dataset.labels, dataset.root) == (3, {"9": 1, "8": 0}, tmp_path / "p")
    faces = open_dataset("faceforensics:x?compression=raw&manipulations=Deepfakes,FaceSwap")
    assert isinstance(faces, FaceForensics)
    assert (faces.compression, faces.manipulations) == ("raw", ("Deepfakes", "FaceSwap"))


def test_folder_of_no_known_layout_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    write(tmp_path, {"cats/a.jpg": b""})
    with pytest.raises(TrainingDataError, match="no class folders"):
        list(open_dataset(tmp_path))


def test_file_of_no_known_layout(tmp_path: Path) -> None:
    write(tmp_path, {"a.xyz": b"", "b.csv": "name,class\na,b\n"})
    for name in ("a.xyz", "b.csv"):
        with pytest.raises(TrainingDataError, match=rf"{name}: its layout is not recognised; write NAME:.*csv"):
            open_dataset(tmp_path / name)


def test_folder_of_two_layouts_has_to_be_named(tmp_path: Path) -> None:
    shards(tmp_path)
    write(tmp_path, {"Celeb-synthesis/x.mp4": b""})
    with pytest.raises(TrainingDataError, match="could be celeb-df-v2 or shards; say which: celeb-df-v2:"):
        open_dataset(tmp_path)
    assert isinstance(open_dataset(f"celeb-df-v2:{tmp_path}"), CelebDF)


def test_csv_files_beside_a_known_layout_do_not_confuse(tmp_path: Path) -> None:
    kaggle(tmp_path)
    csv_file(tmp_path)
    assert type(open_dataset(tmp_path)).__name__ == "Kaggle140k"


def test_layouts_of_plugins_are_found_through_the_hook(
    tmp_path: Path, fresh_plugins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        {
            "mine.py": """
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import DatasetSpec


@hookimpl
def deepfake_datasets():
    yield DatasetSpec(name="mine", summary="mine", dataset="mine:Mine")
    yield DatasetSpec(name="broken", summary="broken", dataset="mine_absent:Broken")


class Mine(Dataset):
    def __init__(self, root, shade=1.0):
        super().__init__(root)
        self.shade = shade

    @classmethod
    def recognises(cls, root):
        return root.suffix == ".mine"

    def __iter__(self):
        yield Sample(self.root, True, "mine", "mine/1")
""",
            "mine-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1\n",
            "mine-1.dist-info/entry_points.txt": "[deepfake]\nmine = mine\n",
            "a.mine": "",
            "a.xyz": "",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    dataset = open_dataset(tmp_path / "a.mine")  # a broken layout beside it does not matter
    assert [sample.source for sample in dataset] == ["mine"]
    assert open_dataset(f"mine:{tmp_path / 'a.mine'}?shade=0.5").shade == "0.5"  # type: ignore[attr-defined] # no annotation
    with pytest.raises(TrainingDataError, match="broken cannot be asked"):
        open_dataset(tmp_path / "a.xyz")
    monkeypatch.delitem(__import__("sys").modules, "mine")


def test_nothing_is_imported_to_list_layouts() -> None:
    assert all(":" in entry.spec.dataset for entry in plugins.datasets().values())


def test_sample_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for spec in ("sample", "sample:"):
        dataset = open_dataset(spec)
        assert isinstance(dataset, SampleFaces)
        assert dataset.root.is_absolute()


WORDS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=8)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%?&"), max_size=12)


@given(
    name=WORDS.filter(lambda word: len(word) > 1 and word[0].isalnum()),
    path=VALUES,
    options=st.dictionaries(WORDS, VALUES),
)
@example(name="csv", path="a=b:c", options={"k": "=:#+ /\\"})
def test_every_address_comes_back_in_its_parts(name: str, path: str, options: dict[str, str]) -> None:
    tail = "?" + "&".join(f"{key}={value}" for key, value in options.items()) if options else ""
    spec = f"{name}:{path}{tail}"
    if path.startswith("//") or (path and os.path.exists(path.replace("\0", ""))):  # noqa: PTH110 - any text
        return
    assert parse(spec) == Address(name, path, options)


@given(spec=st.text(max_size=30))
@example(spec="?=")
@example(spec=":?a=b")
def test_any_text_is_parsed_or_refused(spec: str) -> None:
    try:
        address = parse(spec)
    except TrainingDataError:
        return
    assert address.name or address.path


@given(labels=st.dictionaries(WORDS, st.sampled_from([0, 1]), min_size=1))
def test_label_maps_come_back(labels: dict[str, int]) -> None:
    text = ",".join(f"{value}:{'fake' if fake else 'real'}" for value, fake in labels.items())
    assert parse_labels(text) == labels


def test_label_words_of_all_spellings() -> None:  # resolution 4
    assert {name for name, fake in LABELS.items() if fake} == {"fake", "1_fake", "training_fake"}
    assert {name for name, fake in LABELS.items() if not fake} == {"real", "0_real", "training_real"}


def test_contract_reads_spans_and_streams(tmp_path: Path) -> None:
    from deepfake_core.datasets import Sample

    class Two(Dataset):
        def __iter__(self):
            yield Sample(self.root, False, "s", "a", span=(2, 3), member="x")
            yield Sample(self.root, True, "s", "b")

    (tmp_path / "blob").write_bytes(b"0123456789")
    samples = list(Two(tmp_path / "blob").stream())
    assert [content for _, content in samples] == [b"234", tmp_path / "blob"]
    assert [sample.name for sample, _ in samples] == [f"{tmp_path / 'blob'}!x", str(tmp_path / "blob")]
    assert not Two.recognises(tmp_path)
    assert picture("real") != picture("fake")
