from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepfake_registry.errors import DeepfakeError
from deepfake_registry.files import atomic_path, new_folder, sha256_file, write_atomic, write_new


def test_a_file_appears_whole_and_with_ordinary_permissions(tmp_path):
    target = tmp_path / "new" / "folder" / "model.bin"
    write_atomic(target, b"\x00\x01")
    assert target.read_bytes() == b"\x00\x01"
    beside = target.with_name("beside")
    beside.touch()
    assert target.stat().st_mode == beside.stat().st_mode
    write_atomic(target, "tëxt")
    assert target.read_text(encoding="utf-8") == "tëxt"


def test_a_folder_appears_whole_and_with_ordinary_permissions(tmp_path):
    target = tmp_path / "new" / "model"
    with new_folder(target) as folder:
        (folder / "1").mkdir()
        (folder / "1" / "model.bin").write_bytes(b"weights")
        assert not target.exists()
    assert (target / "1" / "model.bin").read_bytes() == b"weights"
    assert list(target.parent.iterdir()) == [target]
    beside = target.with_name("beside")
    beside.mkdir()
    assert target.stat().st_mode == beside.stat().st_mode
    with new_folder(beside) as folder:
        (folder / "file").touch()
    assert (beside / "file").exists(), "an empty folder may be filled"


def test_a_folder_that_fails_leaves_nothing_and_one_that_is_there_stays(tmp_path):
    def fail_half_way() -> None:
        with new_folder(tmp_path / "model") as folder:
            (folder / "half").touch()
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []

    def fill(target) -> None:
        with new_folder(target) as folder:
            (folder / "new").touch()

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old").touch()
    (tmp_path / "file").touch()
    for target in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(DeepfakeError, match=f"{target.name}: is there already"):
            fill(target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "old"]


def test_an_error_leaves_nothing_new_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"old")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_old_file_stays_readable_until_the_new_one_is_complete(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"old")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_process_leaves_the_old_file(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"old")
    script = textwrap.dedent(
        """
        import sys
        from deepfake_registry.files import atomic_path
        with atomic_path(sys.argv[1]) as temporary, temporary.open("wb") as stream:
            stream.write(b"half of it")
            stream.flush()
            print("writing", flush=True)
            sys.stdin.read()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_sha256_of_a_file(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"old")
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from deepfake_registry.errors import DeepfakeError
        from deepfake_registry.files import write_atomic
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_atomic(sys.argv[1], bytes(2000))
        except DeepfakeError as error:
            print(error)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True)
    assert str(target) in done.stdout
    assert "disk is full" in done.stdout
    assert "unchanged" in done.stdout
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_native_writer_that_found_no_room_is_told_apart_from_other_errors(tmp_path, monkeypatch):
    def fails() -> None:
        with atomic_path(tmp_path / "last.pt"):
            raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        fails()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(DeepfakeError, match=r"last\.pt: .*disk is full; free space"):
        fails()


def test_a_new_file_is_written_once(tmp_path):
    target = tmp_path / "new" / "record.json"
    write_new(target, b"first")
    with pytest.raises(FileExistsError):
        write_new(target, b"second")
    assert target.read_bytes() == b"first"
    beside = target.with_name("beside")
    beside.touch()
    assert target.stat().st_mode == beside.stat().st_mode
    assert sorted(path.name for path in target.parent.iterdir()) == ["beside", "record.json"]


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_the_umask_of_the_process_is_not_touched(tmp_path, monkeypatch, write):
    def refuse(_mask):
        raise AssertionError("another thread may be making a file at this moment")

    monkeypatch.setattr("os.umask", refuse)
    write(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"


def test_files_of_other_threads_keep_their_permissions(tmp_path):
    (tmp_path / "usual").touch()
    modes, over = set(), threading.Event()

    def make_files():
        while not over.is_set():
            other = tmp_path / "other"
            other.touch()
            modes.add(other.stat().st_mode)
            other.unlink()

    thread = threading.Thread(target=make_files)
    thread.start()
    for _ in range(100):
        write_atomic(tmp_path / "x", b"content")
    over.set()
    thread.join()
    assert modes == {(tmp_path / "usual").stat().st_mode}


def test_a_file_that_a_library_made_for_its_owner_alone_gets_ordinary_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "x") as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_only_what_is_open_for_writing_is_flushed(tmp_path, monkeypatch):
    """Windows refuses ``fsync`` of a file that is open for reading only, and cannot open a folder at all."""
    fcntl = pytest.importorskip("fcntl")

    def fsync(descriptor):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")

    really_open = os.open

    def open_(path, *arguments, **options):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, *arguments, **options)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.open", open_)
    write_atomic(tmp_path / "x", b"content")
    write_new(tmp_path / "y", b"content")
    with new_folder(tmp_path / "folder") as folder:
        (folder / "z").write_bytes(b"content")
    assert all(path.read_bytes() == b"content" for path in tmp_path.rglob("[xyz]"))


def test_a_file_system_that_flushes_no_folders_is_written_to(tmp_path, monkeypatch):
    really_flush = os.fsync

    def fsync(descriptor):
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(errno.EINVAL, "Invalid argument")
        really_flush(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    write_atomic(tmp_path / "x", b"content")


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    for name in ("x" * 255, "é" * 127):
        write_atomic(tmp_path / name, b"content")
        (tmp_path / name).unlink()
        with new_folder(tmp_path / name):
            pass


def test_a_place_that_cannot_be_written_is_one_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DeepfakeError, match="file/below/x: cannot be written"):
        write_atomic(tmp_path / "file" / "below" / "x", b"content")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DeepfakeError, match="folder: cannot be written"):
        write_atomic(tmp_path / "folder", b"content")
    with pytest.raises(DeepfakeError, match="file/below: cannot be written"), new_folder(tmp_path / "file" / "below"):
        pass
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        (tmp_path / "missing").read_bytes()  # an error of the block is no error of the target
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
