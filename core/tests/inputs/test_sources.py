from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs.sources import expand, has_video_suffix


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        ".hidden.jpg",
        "deep/er/c.mp4",
        "deep/d.webp",
        ".cache/e.jpg",
        "[1].gif",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(inputs, root):
    return [os.path.relpath(source.name, root) for source in expand(inputs)]


EVERYTHING = ["[1].gif", "a.PNG", "b.jpg", "deep/d.webp", "deep/er/c.mp4"]


def test_a_folder_is_walked_in_order_without_hidden_files(tree):
    assert names(tree, tree) == EVERYTHING
    assert names(str(tree), tree) == EVERYTHING


def test_files_are_taken_whatever_their_suffix(tree):
    assert names([tree / "notes.txt", str(tree / ".hidden.jpg")], tree) == ["notes.txt", ".hidden.jpg"]
    assert names(tree / "[1].gif", tree) == ["[1].gif"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["b.jpg"]),
        (".*.jpg", [".hidden.jpg"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        ("d*", ["deep/d.webp", "deep/er/c.mp4"]),
        ("**/*.mp4", ["deep/er/c.mp4"]),
        ("**", EVERYTHING),
        ("**/d*", ["deep/d.webp", "deep/er/c.mp4"]),
    ],
)
def test_patterns(tree, pattern, found, monkeypatch):
    assert sorted(names(str(tree / pattern), tree)) == sorted(found)
    monkeypatch.chdir(tree)
    assert sorted(source.name for source in expand(pattern)) == sorted(found)


@pytest.mark.parametrize("name", ["gone.jpg", "no*match.jpg", "**bad/[", "", "nul\0byte", "x" * 5000])
def test_what_does_not_exist_is_left_to_fail_on_its_own(name):
    (source,) = expand(name)
    assert source.data == name


def test_links_in_a_circle_end(tree):
    (tree / "deep" / "up").symlink_to(tree)
    (tree / "deep" / "self").symlink_to(tree / "deep" / "self")
    assert names(tree, tree) == EVERYTHING
    assert sorted(names(str(tree / "**"), tree)) == sorted(EVERYTHING)


def test_a_linked_folder_is_followed_once(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "z.jpg").touch()
    (tree / "one").symlink_to(other)
    (tree / "two").symlink_to(other)
    assert names(tree, tree) == [*EVERYTHING, "one/z.jpg"]


def test_lists_arrays_bytes_and_images():
    picture, batch = np.zeros((4, 5, 3), np.uint8), np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    found = list(expand([picture, [batch, b"bytes"], (Image.new("L", (2, 2)),), "x.jpg", Path("y.jpg")]))
    assert [source.name for source in found] == [
        "<array>", "<array>[0]", "<array>[1]", "<bytes>", "<image>", "x.jpg", "y.jpg",
    ]  # fmt: skip
    assert np.array_equal(found[2].data, batch[1])
    with pytest.raises(TypeError, match="int"):
        list(expand([3]))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.mp4", True),
        (Path("d") / "B.MOV", True),
        ("clips/000.webm", True),
        ("a.jpg", False),
        ("mp4", False),
        ("", False),
    ],
)
def test_a_name_tells_a_video(name, found):
    assert has_video_suffix(name) is found


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_that_are_not_utf8_can_be_printed(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    (source,) = expand(tmp_path)
    assert source.name.encode() == str(tmp_path / "caf").encode() + rb"\udce9.jpg"
    assert Path(source.data).exists()


def test_nothing_heavy_is_imported_with_the_package():
    code = "import sys, deepfake_core.inputs; print(sorted({'cv2', 'av', 'PIL', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_file_object_is_one_input(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"0123")
    with (tmp_path / "a.jpg").open("rb") as file:
        file.read(1)
        (source,) = expand(file)
    assert (source.name, source.data) == (str(tmp_path / "a.jpg"), b"123")
    assert [source.name for source in expand([io.BytesIO(b"1"), io.BytesIO(b"2")])] == ["<file>", "<file>"]
    with pytest.raises(InputError, match="binary mode"):
        list(expand(io.StringIO("text")))
    with pytest.raises(InputError, match="cannot be read"):
        list(expand(file))
