"""Registries that are elsewhere: S3 from a real server on this machine, and memory."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.store.opening import open_registry, open_storage
from deepfake_registry.store.registry import Registry
from deepfake_registry.store.upkeep import collect, verify

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def server():
    """Address of an S3 server; it keeps what it is given until the module's tests have run."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    serving = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    yield f"http://{host}:{port}"
    serving.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """URL of an empty folder in a bucket; the environment says how to reach it, as a user's would."""
    import s3fs

    for name, value in (KEYS | {"AWS_ENDPOINT_URL": server}).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"models-{uuid.uuid4().hex}"
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}/team"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["memory", "s3"])
def url(request):
    return request.getfixturevalue("bucket") if request.param == "s3" else f"memory://{uuid.uuid4().hex}/models"


@pytest.fixture
def remote(url, tmp_path):
    return Registry(open_storage(url), cache=tmp_path / "cache")


def test_what_is_pushed_there_can_be_read_from_there(remote, package, tmp_path):
    folder = package("1", content=b"abc")
    published, new = remote.push(folder, reports=[b"{}"])
    assert new
    assert not remote.push(folder)[1]
    with pytest.raises(RegistryError, match="published with other content"):
        remote.push(package("1", content=b"xyz"))
    remote.push(package("2", content=b"two"))
    remote.move("tiny", "production", "1", reason="first")
    remote.move("tiny", "production", "2", reason="better")
    remote.move("tiny", "production", "1", reason="back")
    assert remote.names() == ["tiny"]
    assert remote.versions("tiny") == ["1", "2"]
    assert [move.version for move in remote.aliases.history("tiny", "production")] == ["1", "2", "1"]
    found = remote.resolve("tiny@production")
    assert found == published
    assert len(remote.reports(found)) == 1
    out = remote.pull(found, tmp_path / "out")
    assert (out / "tiny.onnx").read_bytes() == b"abc"
    verified = verify(remote)
    assert (verified.versions, verified.moves, verified.problems) == (2, 3, [])


def test_files_are_kept_in_a_cache_and_verified_on_every_use(remote, package, tmp_path):
    file = remote.push(package("1", content=b"abc"))[0].manifest.files["onnx"]
    copy = remote.fetch(file)
    assert copy.is_relative_to(tmp_path / "cache")
    assert copy.read_bytes() == b"abc"
    remote.storage.delete(f"blobs/sha256/{file.sha256[:2]}/{file.sha256}")
    assert remote.fetch(file) == copy  # not fetched again
    copy.write_bytes(b"abd")
    with pytest.raises(ArtifactCorrupt, match=r"damaged, its sha256 differs .*delete this copy") as caught:
        remote.fetch(file)
    assert str(copy) in str(caught.value)


def test_a_flipped_bit_there_is_found_and_not_kept(remote, package, tmp_path):
    folder = package("1", content=b"abc")
    published, _ = remote.push(folder)
    file = published.manifest.files["onnx"]
    path = f"blobs/sha256/{file.sha256[:2]}/{file.sha256}"
    remote.storage.fs.pipe_file(f"{remote.storage.root}/{path}", b"abd")
    with pytest.raises(ArtifactCorrupt, match="damaged") as caught:
        remote.fetch(file)
    assert remote.storage.where(path) in str(caught.value)
    assert not [item for item in (tmp_path / "cache").rglob("*") if item.is_file()]
    remote.push(folder)
    assert remote.fetch(file).read_bytes() == b"abc"
    text = published.text.replace(b"0.5", b"0.6")
    remote.storage.fs.pipe_file(f"{remote.storage.root}/models/tiny/1/manifest.json", text)
    with pytest.raises(ArtifactCorrupt, match=r"manifest\.json: damaged"):
        remote.resolve("tiny@1")


def test_garbage_there(remote, package):
    remote.push(package("1"))
    remote.blobs.add_bytes(b"stray")
    assert collect(remote, delete=True).files == []  # too young
    found = collect(remote, delete=True, now=datetime.now(UTC) + timedelta(days=30))
    assert len(found.files) == 1
    assert found.size_bytes == 5
    assert len(remote.storage.files("blobs")) == 2


def test_threads_that_move_an_alias_in_s3_lose_no_move(bucket, package):
    registry = open_registry(bucket)
    registry.push(package())

    def move(who):
        for number in range(8):
            registry.move("tiny", "production", "1", reason=f"{who}{number}")

    threads = [threading.Thread(target=move, args=(who,)) for who in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = registry.aliases.history("tiny", "production")
    assert [move.number for move in history] == list(range(1, 17))
    assert {move.reason for move in history} == {f"{who}{number}" for who in "ab" for number in range(8)}


def test_processes_that_push_to_s3_lose_nothing(bucket, package):
    folders = [package(str(n), content=b"%d" % n) for n in range(6)]
    code = "import sys; from deepfake_registry.store.opening import open_registry as o\n"
    code += "for folder in sys.argv[2:]: o(sys.argv[1]).push(folder)"
    writers = [
        subprocess.Popen([sys.executable, "-c", code, bucket, *map(str, own)]) for own in (folders[:4], folders[2:])
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    registry = open_registry(bucket)
    assert registry.versions("tiny") == [str(n) for n in range(6)]
    assert verify(registry).problems == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_push_to_s3_that_is_killed_is_whole_or_absent(bucket, package):
    folder = package(content=random.Random(0).randbytes(4_000_000))
    code = "import sys; from deepfake_registry.store.opening import open_registry as o; r = o(sys.argv[1]); r.names()\n"
    code += "print('ready', flush=True); r.push(sys.argv[2])"
    registry = open_registry(bucket)
    for attempt in range(6):
        writer = subprocess.Popen([sys.executable, "-c", code, bucket, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.02 * attempt**2)
        writer.kill()
        writer.communicate(timeout=60)
        assert verify(registry).problems == []
        assert registry.versions("tiny") in ([], ["1"])
    registry.push(folder)
    assert registry.versions("tiny") == ["1"]
    assert verify(registry).problems == []


def test_a_bucket_that_is_not_there_is_one_line(server, bucket, package):
    registry = open_registry("s3://no-such-bucket-at-all/x")
    with pytest.raises(RegistryError, match=r"registry s3://no-such-bucket-at-all/x cannot be written: ") as caught:
        registry.push(package())
    assert "\n" not in str(caught.value)


def test_a_server_that_is_gone_is_not_taken_for_a_missing_model(bucket, package, monkeypatch):
    registry = open_registry(bucket)
    registry.push(package())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        registry.storage.fs.clear_instance_cache()
        gone = open_registry(bucket)
        for ask in (lambda: gone.resolve("tiny@1"), lambda: gone.storage.exists("x"), lambda: gone.push(package())):
            with pytest.raises(RegistryError, match=r"registry s3://.* cannot be read: .*connect"):
                ask()


def test_an_old_blob_there_is_written_again_by_a_push(remote, package, monkeypatch):
    folder = package()
    file = remote.push(folder)[0].manifest.files["onnx"]
    path = f"blobs/sha256/{file.sha256[:2]}/{file.sha256}"
    written = remote.storage.stat(path).modified
    monkeypatch.setattr("deepfake_registry.store.remote._YOUNG", timedelta(0))
    time.sleep(1.1)  # S3 counts whole seconds
    remote.push(folder)
    assert remote.storage.stat(path).modified > written


def test_credentials_are_not_shown():
    assert open_storage("memory://user:secret@place/x").url == "memory://place/x"


def test_a_missing_library_is_named():
    code = "import sys; sys.modules['s3fs'] = None; from deepfake_registry.store.opening import open_storage as o; o('s3://b/x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("deepfake_registry.errors.MissingExtra: a registry at s3:// needs")
    assert "pip install 'deepfake-core[registry]'" in done.stderr
