"""Servers load a detector once and then fork their workers: it has to judge in them, and they have to end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from deepfake_core.errors import ArtifactCorrupt
from deepfake_core.parallel import ordered_map

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

TINY = Path(__file__).parents[1] / "tiny_plugin"
LIMIT_S = 90  # a process that hangs is ended after this time; a busy machine needs seconds

PROGRAM = """
import os, signal, sys, threading
import numpy as np
sys.path.insert(0, sys.argv[1])
import deepfake_core as df

detector = df.load("tiny", backend=sys.argv[2], threads=2, device="cpu")
pictures = list(np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), np.uint8))
crops = np.zeros((3, 64, 64, 3), np.uint8)
wanted = detector.score(crops).logit
detector.predict(pictures)

busy = threading.Event()
def judge():
    while not busy.is_set():
        detector.score(crops)
        detector.predict(pictures)
thread = threading.Thread(target=judge)
thread.start()


def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        work()
        sys.exit(0)                       # frees what the child inherited, as a server's worker does
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def used():
    np.testing.assert_allclose(detector.score(crops).logit, wanted, atol=1e-5)
    assert len(detector.predict(pictures)) == 4
    again = df.load("tiny", backend=sys.argv[2], threads=2, device="cpu")
    np.testing.assert_allclose(again.score(crops).logit, wanted, atol=1e-5)


stream = detector.stream(pictures * 4)
next(stream)


def with_a_stream_that_was_begun():
    try:
        next(stream)
    except RuntimeError as error:
        assert "forked" in str(error)


def grandchild():
    assert in_child(used) == 0


print([in_child(work) for work in (used, lambda: None, with_a_stream_that_was_begun, grandchild, detector.close)])
print(len(list(stream)))
busy.set()
thread.join()
"""


@pytest.mark.parametrize(
    "backend",
    [
        "onnxruntime",
        pytest.param("openvino", marks=pytest.mark.openvino),
        pytest.param("torch", marks=pytest.mark.torch),
    ],
)
def test_a_detector_that_was_loaded_before_a_fork(backend: str) -> None:
    program = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, str(TINY), backend],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert program.stdout.splitlines() == ["[0, 0, 0, 0, 0]", "15"], program.stderr


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.openvino)])
def test_a_file_that_was_replaced_is_not_taken_for_the_model_that_was_loaded(tiny: Path, tmp_path: Path, backend):
    from deepfake_core import load
    from deepfake_core.runtimes import onnxruntime

    package = Path(shutil.copytree(tiny, tmp_path / "package"))
    detector = load(package, backend=backend, threads=1)
    (model,) = package.glob("*.onnx")
    detector.runtime.after_fork()  # what a fork calls in the child
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    assert detector.score(crops).logit.shape == (1,)
    detector.runtime.after_fork()
    onnxruntime._sessions.clear()  # a fork does so, too
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ArtifactCorrupt, match=r"\.onnx: .* changed since the detector was loaded.*load the detector"):
        detector.score(crops)


def test_an_iterator_that_was_begun_before_a_fork_refuses_to_go_on(monkeypatch):
    results = ordered_map(abs, range(100), workers=2)
    next(results)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(RuntimeError, match="begin a new one here"):
        next(results)


SERVER = """
import os, sys
sys.path.insert(0, os.environ["TINY"])
import numpy as np
import deepfake_core as df

detector = df.load("tiny", backend="onnxruntime", threads=2)
pictures = list(np.zeros((3, 96, 96, 3), np.uint8))
detector.predict(pictures)


def app(environ, start_response):
    body = " ".join(result.verdict for result in detector.predict(pictures)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.skipif(find_spec("gunicorn") is None, reason="gunicorn is not installed")
def test_gunicorn_that_loads_the_detector_before_it_starts_its_workers(tmp_path: Path) -> None:
    import time
    from urllib.request import urlopen

    (tmp_path / "server.py").write_text(SERVER)
    address = tmp_path / "log"
    options = ["--preload", "-w", "2", "-b", "127.0.0.1:0", "--log-file", str(address)]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "server:app"],
        cwd=tmp_path,
        env={**os.environ, "TINY": str(TINY), "HOME": str(tmp_path)},
    )
    try:
        for _ in range(10 * LIMIT_S):
            log = address.read_text() if address.exists() else ""
            if "Listening at: " in log:
                break
            time.sleep(0.1)
        url = log.partition("Listening at: ")[2].split()[0]
        answers = [urlopen(url, timeout=LIMIT_S).read() for _ in range(3)]
        assert answers == [b"no_face no_face no_face"] * 3
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(LIMIT_S) == 0
    assert "SIGKILL" not in address.read_text()
