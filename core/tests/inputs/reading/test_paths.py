"""Paths that lead nowhere say what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from media import PORTRAIT

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.sources import expand, is_one_input
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize

SPEC = PreprocessSpec(resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(PORTRAIT.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(os.sep != "/", reason="other systems have other separators")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("gone.jpg", "no such file; check the path"),
        (Path("gone.jpg"), "no such file; check the path"),
        ("C:\\Users\\me\\a.jpg", "this system writes / between folders, not \\ as Windows does"),
        ("in\\a.jpg", "with / instead of \\ there is one: in/a.jpg"),
        ("in/a.jpg ", "there is one: in/a.jpg"),
        ("in/a.jpg\n", "there is one: in/a.jpg"),
        ("'in/a.jpg'", "there is one: in/a.jpg"),
        ("~/gone.jpg", "only a shell replaces ~ by the home folder"),
        ("file:///in/a.jpg", "is a file: address; pass the path in it"),
        ("http://example.org/a.jpg", "and addresses are not fetched; download it first, then name a.jpg"),
        ("https://example.org/a.jpg?size=large", "is an address"),
        (Path("https://example.org/a.jpg"), "is an address"),
        ("s3://bucket/a.jpg", "is an address"),
        ("https://example.org", "addresses are not fetched; download it first"),
        ("-", "standard input is not read here; name a file or folder"),
        ("data:image/png;base64,AAAA", "is a data: address; decode it, and pass the bytes"),
        ("in/*.png", "no file matches this pattern"),
    ],
)
def test_a_path_that_leads_nowhere(here, path, words):
    with pytest.raises(InputError) as caught:
        decode(path)
    assert words in str(caught.value)
    (source,) = expand(path)
    assert words in Preparer(SPEC).prepare(source).error


def test_a_folder_without_pictures_is_an_error_result_of_its_own(here):
    (here / "in" / "empty").mkdir()
    (here / "in" / "notes.txt").write_text("x")
    (source,) = expand(here / "in" / "empty")
    assert "is a folder" in Preparer(SPEC).prepare(source).error
    assert not is_one_input(str(here / "in" / "empty"), [source])
    assert [Path(one.name).name for one in expand([here / "in" / "empty", here / "in"])] == ["empty", "a.jpg"]
    assert [Path(one.name).name for one in expand(here / "in" / "empty", clips=True)] == ["empty"]
