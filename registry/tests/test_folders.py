from __future__ import annotations

import os
import sys
import types

import pytest

from deepfake_registry import folders
from deepfake_registry.errors import DeepfakeError
from deepfake_registry.store.opening import open_registry


@pytest.fixture(autouse=True)
def no_home(monkeypatch, tmp_path):
    """A user without a home folder, as in a container that runs under an id that it does not know."""
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DEEPFAKE_CACHE", "DEEPFAKE_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "pwd", types.SimpleNamespace(getpwuid=_unknown, getpwnam=_unknown))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folders._temporary_folder.cache_clear()
    yield
    folders._temporary_folder.cache_clear()


def _unknown(_who):
    raise KeyError("no such user")


def test_without_a_home_the_cache_is_a_temporary_folder_and_one_line_says_so(tmp_path, caplog):
    folder = folders.cache_folder()
    assert folder == folders.cache_folder("backends/x.json")
    assert folder.parent == tmp_path / "tmp"
    assert folder.stat().st_mode & 0o077 == 0, "nobody else may write to it"
    (message,) = caplog.messages
    assert message.startswith("the home folder is unknown")
    assert "DEEPFAKE_CACHE" in message


@pytest.mark.parametrize("found", ["~/.cache/deepfake-core", RuntimeError("no home")])
def test_each_way_in_which_platformdirs_reports_that_there_is_no_home_is_understood(monkeypatch, found):
    def find(_name):
        if isinstance(found, Exception):
            raise found
        return folders.Path(found)

    monkeypatch.setattr("platformdirs.user_cache_path", find)
    monkeypatch.setattr("platformdirs.user_data_path", find)
    assert folders.cache_folder().is_absolute()
    with pytest.raises(DeepfakeError, match="HOME"):
        folders.data_folder()


def test_a_cache_that_cannot_be_made_is_replaced_and_one_that_has_the_entry_is_used(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    assert folders.cache_folder().parent == tmp_path / "tmp"
    assert "cannot be written" in caplog.text
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "cache" / "deepfake-core"
    assert folders.cache_folder("entry") == own, "a folder that does not exist yet can be made"
    own.mkdir(parents=True)
    (own / "entry").touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert folders.cache_folder("entry") == own, "what is in a read-only cache is used"
    assert folders.cache_folder("other").parent == tmp_path / "tmp"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users of POSIX")
def test_a_temporary_folder_that_others_can_write_to_is_not_trusted(tmp_path):
    planted = tmp_path / "tmp" / f"deepfake-core-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert folders.cache_folder() != planted


def test_nowhere_to_write_is_one_error(tmp_path):
    (tmp_path / "tmp").rmdir()
    with pytest.raises(DeepfakeError, match="DEEPFAKE_CACHE"):
        folders.cache_folder()


def test_the_named_cache_is_used_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "mine"))
    assert folders.cache_folder("entry") == tmp_path / "mine"
    monkeypatch.setenv("DEEPFAKE_CACHE", "~/mine")
    with pytest.raises(DeepfakeError, match="home folder is unknown"):
        folders.cache_folder()


def test_a_registry_without_a_home_names_the_ways_out(tmp_path):
    with pytest.raises(DeepfakeError, match="DEEPFAKE_REGISTRY"):
        open_registry()
    assert open_registry(tmp_path).names() == []
