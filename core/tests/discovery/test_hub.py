"""Repositories of the Hugging Face Hub: in its cache, in a folder, and from a server with the interface of the Hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deepfake_core import load
from deepfake_core.discovery import hub
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, InputError, WeightsUnavailable

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = b"not opened by any of these tests"
FILES = {
    "config.json": b'{"architectures": ["Any"]}',
    "README.md": b"---\ntags: [x]\nlicense: apache-2.0\n---\n# Model\nlicense: mit\n",
    "model.safetensors": WEIGHTS,
}


def write_cache(cache: Path, repo: str, files: dict[str, bytes]) -> Path:
    """Write a repository as the library of the Hub caches it: content-addressed blobs, links to them, and a branch."""
    storage = cache / f"models--{repo.replace('/', '--')}"
    snapshot = storage / "snapshots" / COMMIT
    for folder in (storage / "blobs", storage / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (storage / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        large = name.endswith(".safetensors")
        digest = hashlib.sha256(content).hexdigest() if large else hashlib.sha1(content).hexdigest()
        (storage / "blobs" / digest).write_bytes(content)
        (snapshot / name).symlink_to(os.path.relpath(storage / "blobs" / digest, snapshot))
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", str(False))
    return folder


def test_a_cached_repository_is_read_without_a_network(cache: Path) -> None:  # 000-4
    snapshot = write_cache(cache, "org/tiny", FILES)
    found = hub.find_repository("org/tiny")
    assert (found.folder, found.commit, found.cache, found.cached) == (snapshot, COMMIT, cache, True)
    (reference,) = found.references()
    assert reference.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert reference.size_bytes == len(WEIGHTS)
    assert found.version((reference,)) == COMMIT[:12]
    assert found.license() == "apache-2.0"
    assert found.json("config.json") == {"architectures": ["Any"]}
    assert found.origin == f"org/tiny@{COMMIT}"
    again = hub.find_repository(found.origin)
    assert again.folder == snapshot


def test_a_folder_goes_before_the_hub_and_keeps_its_path_to_itself(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "org" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    monkeypatch.chdir(tmp_path)
    found = hub.find_repository("org/tiny")
    assert found.folder == Path("org/tiny")
    assert (found.title, found.license(), found.cache) == ("tiny", "", None)
    assert found.version(found.references()) == hashlib.sha256(WEIGHTS).hexdigest()[:12]
    assert found.origin == str(folder)


@pytest.mark.parametrize("name", ["./org/tiny", "/org/tiny", "tiny", "a/b/c", "org/tiny@", "-org/..tiny-"])
def test_what_is_neither_a_folder_nor_a_name(cache: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"(no such folder|not a repository)"):
        hub.find_repository(name)


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_not_cached_says_where_it_looked_and_what_helps(
    cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("HF_HUB_OFFLINE", str(offline))
    for download in (False, True) if offline else (False,):
        with pytest.raises(WeightsUnavailable) as caught:
            hub.find_repository("org/tiny@v2", download=download)
        message = str(caught.value)
        helps = ("org/tiny", "--download", "hf download org/tiny --revision v2", "--weights PATH")
        assert all(part in message for part in helps)
        assert ("HF_HUB_OFFLINE=1" in message) == offline
        if not download:
            assert str(cache) in message


def test_a_file_that_is_missing_is_named(cache: Path) -> None:
    snapshot = write_cache(cache, "org/tiny", FILES)
    (snapshot / "model.safetensors").resolve().unlink()  # a download that was cut off leaves such a link
    with pytest.raises(WeightsUnavailable, match=r"org/tiny: model\.safetensors is missing in .*--download"):
        hub.find_repository("org/tiny").references()


def test_a_damaged_file_is_never_used(cache: Path) -> None:
    snapshot = write_cache(cache, "org/tiny", FILES)
    (snapshot / "model.safetensors").resolve().write_bytes(WEIGHTS[::-1])
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors: its sha256 differs .* delete .* --download"):
        hub.find_repository("org/tiny").references()
    (snapshot / "config.json").resolve().write_bytes(b"{")
    with pytest.raises(ArtifactCorrupt, match=r"config\.json: not readable JSON"):
        hub.find_repository("org/tiny").json("config.json")
    (snapshot / "config.json").resolve().write_bytes(b"[1]")
    with pytest.raises(ArtifactCorrupt, match=r"config\.json: expected a JSON object"):
        hub.find_repository("org/tiny").json("config.json")


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(WeightsUnavailable, match=r"pytorch_model\.bin .* never opened: convert them"):
        hub.find_repository(tmp_path).references()


def test_weights_in_several_files(tmp_path: Path) -> None:
    parts = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": parts[0], "b": parts[1], "c": parts[0]}}))
    (tmp_path / parts[0]).write_bytes(b"1")
    with pytest.raises(WeightsUnavailable, match=parts[1]):
        hub.find_repository(tmp_path).weights()
    (tmp_path / parts[1]).write_bytes(b"2")
    references = hub.find_repository(tmp_path).references()
    assert [reference.path for reference in references] == list(parts)
    assert hub.find_repository(tmp_path).version(references) not in {reference.sha256[:12] for reference in references}
    for wrong in ({"a": "../x.safetensors"}, {"a": 1}, {}, []):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(ArtifactCorrupt, match="lists no files of weights"):
            hub.find_repository(tmp_path).weights()


def test_weights_go_with_the_name_of_a_detector_that_reads_repositories(tiny: Path, cache: Path) -> None:
    with pytest.raises(DeepfakeError, match="weights go with the name of a detector"):
        load(tiny, weights="org/tiny")
    with pytest.raises(DeepfakeError, match="is a packaged model: load it by its path"):
        load("tiny", weights=tiny)
    with pytest.raises(DeepfakeError, match="not with untrained=True"):
        load("tiny", weights="org/tiny", untrained=True)
    with pytest.raises(WeightsUnavailable, match=r"tiny: org/tiny is not in .* untrained=True") as caught:
        load("tiny", weights="org/tiny")
    assert caught.value.reason.endswith("use --download (download=True), or run: hf download org/tiny")


@pytest.mark.torch
def test_a_detector_that_reads_no_repositories_says_so(tiny: Path, cache: Path) -> None:
    pytest.importorskip("torch")
    write_cache(cache, "org/tiny", FILES)
    with pytest.raises(WeightsUnavailable, match="reads no repositories"):
        load("tiny", weights="org/tiny")


# ── downloads ────────────────────────────────────────────────────────────────────────────────────────────────


class Hub(BaseHTTPRequestHandler):
    """Server with the part of the Hub's interface that a download of one repository uses."""

    requests: list[str] = []

    def answer(self) -> None:
        path = urlsplit(self.path).path
        self.requests.append(path)
        name = path.rpartition("/")[2]
        if path == "/api/models/org/tiny/revision/main":
            self.send(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": []}).encode())
        elif path == f"/api/models/org/tiny/tree/{COMMIT}":
            offered = {**FILES, "pytorch_model.bin": b"x", "onnx/model.safetensors": b"x"}
            self.send(json.dumps([described(name, content) for name, content in offered.items()]).encode())
        elif path == f"/org/tiny/resolve/{COMMIT}/{name}" and name in FILES:
            large = name.endswith(".safetensors")
            digest = (hashlib.sha256 if large else hashlib.sha1)(FILES[name]).hexdigest()
            self.send(FILES[name], {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
        else:
            self.send(b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}, status=404)

    do_GET = do_HEAD = answer

    def send(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def described(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
    if name.endswith(".safetensors"):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 1}
    return entry


@pytest.fixture
def server() -> Iterator[str]:
    Hub.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


FETCH = """
import sys
from deepfake_core.discovery import hub
from deepfake_core.errors import DeepfakeError
try:
    found = hub.find_repository(sys.argv[1], download=sys.argv[2] == "download")
    print(found.cached, *sorted(path.name for path in found.folder.iterdir()), len(found.references()))
except DeepfakeError as error:
    print(error)
"""


def fetch(name: str, endpoint: str, cache: Path, how: str = "download", offline: str = "0") -> str:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
        "HF_ENDPOINT": endpoint,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-c", FETCH, name, how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_network_is_used_only_when_it_is_asked_for(tmp_path: Path, server: str) -> None:
    assert "org/tiny is not in the Hugging Face cache" in fetch("org/tiny", server, tmp_path, how="no")
    assert "HF_HUB_OFFLINE=1 forbids downloads" in fetch("org/tiny", server, tmp_path, offline="1")
    assert not Hub.requests
    everything = "README.md config.json model.safetensors 1"  # no pickled file, and no other format
    assert fetch("org/tiny", server, tmp_path) == f"False {everything}"
    assert fetch("org/tiny", server, tmp_path) == f"True {everything}"
    Hub.requests.clear()
    assert fetch("org/tiny", server, tmp_path, how="no") == f"True {everything}"
    assert not Hub.requests


def test_a_repository_that_the_hub_does_not_have(tmp_path: Path, server: str) -> None:
    answer = fetch("org/absent", server, tmp_path)
    assert answer.startswith("org/absent cannot be downloaded: ")
    assert "--weights PATH" in answer
    assert "\n" not in answer


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    answer = fetch("org/tiny", "http://127.0.0.1:9", tmp_path)
    assert answer.startswith("org/tiny cannot be downloaded: ")


def test_a_download_that_waits_for_a_lock_of_the_cache_says_so(tmp_path, monkeypatch, caplog):
    from filelock import FileLock, Timeout
    from huggingface_hub.utils import WeakFileLock, _fixes

    monkeypatch.setattr(_fixes.constants, "FILELOCK_LOG_EVERY_SECONDS", 0.1)
    file = tmp_path / "weights.lock"

    def download(*_arguments: object, **_options: object) -> str:
        with FileLock(file), pytest.raises(Timeout), WeakFileLock(file, timeout=0.25):
            pass
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert hub.find_repository("owner/name", download=True).folder == tmp_path
    assert any(record.name == "deepfake.locks" and str(file) in record.getMessage() for record in caplog.records)
