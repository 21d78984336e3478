"""Trackers: what they hold, how they go on, and that none of them ends training."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.util import find_spec

import pytest

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.runs.rundir import RunDir
from deepfake_core.training.trackers import guarded
from deepfake_core.training.trackers.base import Tracker
from deepfake_core.training.trackers.guarded import Trackers
from deepfake_core.training.trackers.mlflow import MLflow, without_credentials
from deepfake_core.training.trackers.opening import open_trackers

# mlflow's and wandb's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")

SETTINGS = {"detector": "bright", "recipe": {"seed": 42, "phases": [{"name": "head", "lr": 1e-3}], "betas": [0.9, 1]}}


@pytest.fixture
def run(tmp_path):
    with RunDir(tmp_path / "runs" / "first") as run:
        yield run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def curve(first, last):
    return {step: {"train/loss": 1.0 / step, "lr/head": 0.5 * step} for step in range(first, last + 1)}


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return found


def points(found, name):
    return [(event.step, event.value) for event in found.Scalars(name)]


# ── TensorBoard ──────────────────────────────────────────────────────────────────────────────────────────────────


# 001-20
def test_tensorboard_holds_the_curves(run):
    tracking = open_trackers(["tensorboard"], run)
    tracking.start(SETTINGS)
    for step, values in curve(1, 20).items():
        tracking.log(step, values)
    tracking.close("finished")
    found = events(run.tensorboard)
    assert sorted(found.Tags()["scalars"]) == ["lr/head", "train/loss"]
    assert points(found, "train/loss") == [(step, pytest.approx(1 / step)) for step in range(1, 21)]
    (text,) = found.Tensors("settings/text_summary")
    assert b"recipe.phases.0.lr | 0.001" in text.tensor_proto.string_val[0]


# 001-20, 001-24
@pytest.mark.parametrize("checkpoint", [0, 10])
def test_a_curve_does_not_double_back_after_a_kill(run, checkpoint):
    cut_off = open_trackers(["tensorboard"], run)
    cut_off.start({})
    for step in range(1, 14):
        cut_off.log(step, {"train/loss": -1.0 if step > checkpoint else 1.0 / step})
    cut_off.flush()
    (file,) = run.tensorboard.iterdir()
    with file.open("ab") as stream:
        stream.write(b"\x20\0\0\0\0\0\0\0torn")
    tracking = open_trackers(["tensorboard"], run)
    tracking.start({}, checkpoint)
    for step in range(checkpoint + 1, 21):
        tracking.log(step, {"train/loss": 1.0 / step})
    tracking.close("finished")
    assert points(events(run.tensorboard), "train/loss") == [(step, pytest.approx(1 / step)) for step in range(1, 21)]
    cut_off.close("failed")  # ends its thread


# ── MLflow ───────────────────────────────────────────────────────────────────────────────────────────────────────


def check_mlflow(run, spec, uri):
    """A run, cut off after step 15 with its checkpoint at 10, goes on as the same run of the server."""
    from mlflow import MlflowClient

    first = open_trackers([spec], run)
    first.start(SETTINGS)
    for step, values in curve(1, 15).items():
        first.log(step, values)
    second = open_trackers([spec], run)
    second.start(SETTINGS, 10)
    for step, values in curve(11, 20).items():
        second.log(step, values)
    second.close("finished")

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("faces")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "first"
    assert found.info.status == "FINISHED"
    assert found.data.params["recipe.phases.0.lr"] == "0.001"
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(step, 1.0 / step) for step in range(1, 21)]
    assert json.loads((run.folder / "trackers.json").read_text())["mlflow"]["run_id"] == found.info.run_id


# 001-25
@needs_mlflow
def test_mlflow_in_files(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    check_mlflow(run, f"mlflow:{uri}?experiment=faces", uri)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def mlflow_server(folder):
    """A real server on a free port; gives the port."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("ab") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, start_new_session=True, env=environment
        )
    try:
        end = time.monotonic() + 150
        while time.monotonic() < end and server.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


class Relay:
    """Passes connections on to a server, and drops them all while it is ``down``."""

    def __init__(self, port):
        self.target, self.down, self.sockets = port, False, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self.listener.accept()
                if self.down:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.target))
                self.sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        self.drop(source, sink)

    def drop(self, *sockets):
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self):
        self.down = True
        self.drop(*self.sockets)


# 001-25
@needs_mlflow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_mlflow_on_a_server_that_goes_and_comes_back(run, tmp_path, caplog, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setattr(guarded, "RETRY_S", 0.0)
    with mlflow_server(tmp_path) as port:
        relay = Relay(port)
        uri = f"http://127.0.0.1:{relay.port}"
        check_mlflow(run, f"mlflow:{uri}?experiment=faces", uri)
        tracking = open_trackers([f"mlflow:{uri}?experiment=faces"], run)
        tracking.start(SETTINGS, 20)
        tracking.log(21, {"train/loss": 21.0})
        relay.close()
        with caplog.at_level(logging.WARNING, "deepfake"):
            for step in (22, 23):
                tracking.log(step, {"train/loss": float(step)})
        said = [record.message for record in caplog.records if record.name == "deepfake.training"]
        assert len(said) == 1, "once"
        assert "tracking by mlflow failed" in said[0]
        relay.down = False
        tracking.log(24, {"train/loss": 24.0})
        tracking.close("failed")
        known = json.loads((run.folder / "trackers.json").read_text())["mlflow"]
        client = MlflowClient(tracking_uri=uri)
        assert client.get_run(known["run_id"]).info.status == "FAILED"
        history = client.get_metric_history(known["run_id"], "train/loss")
        assert sorted(point.step for point in history) == list(range(1, 25)), "what was missed has been sent"
        relay.listener.close()
        relay.close()


@needs_mlflow
def test_no_password_is_written_down(run):
    found = MLflow("https://me:secret@tracking.example/x", "faces", "first", run.folder / "trackers.json")
    assert without_credentials(found.uri) == "https://tracking.example/x"


def test_no_password_is_logged(caplog):
    class Leaks(Shaky):
        def log(self, step, values):
            raise ConnectionError("API request to https://me:s3cret@tracking.example/x failed")

    Trackers({"leaks": Leaks()}).log(1, {})
    assert "API request to https://tracking.example/x failed" in caplog.text
    assert "s3cret" not in caplog.text


# ── Weights & Biases ─────────────────────────────────────────────────────────────────────────────────────────────


# 001-25
@needs_wandb
def test_wandb_offline(run, monkeypatch):
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    ids = []
    for start in (0, 3):
        tracking = open_trackers(["wandb:faces"], run)
        tracking.start(SETTINGS, start)
        tracking.log(start + 1, {"train/loss": 0.5})
        tracking.close("finished")
        ids.append(json.loads((run.folder / "trackers.json").read_text())["wandb"]["run_id"])
    assert ids[0] == ids[1], "a run that goes on is the same run"
    files = sorted((run.folder / "wandb").glob(f"offline-run-*/run-{ids[0]}.wandb"))
    assert files
    assert b"train/loss" in files[0].read_bytes()


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────


class Shaky(Tracker):
    """Fails while ``down``; and always at step 13."""

    def __init__(self):
        self.down = False
        self.got = []

    def take(self, *what):
        if self.down or what[:2] == ("log", 13):
            raise ConnectionError("gone\nfor good")
        self.got.append(what)

    def start(self, settings, step):
        self.take("start", step)

    def log(self, step, values):
        self.take("log", step)

    def close(self, ending):
        self.take("close", ending)


def test_a_tracker_that_fails_is_warned_about_once_and_catches_up(monkeypatch, caplog):
    shaky, steady = Shaky(), Shaky()
    tracking = Trackers({"shaky": shaky, "steady": steady})
    shaky.down = True
    with caplog.at_level(logging.WARNING, "deepfake"):
        tracking.start({})
        for step in range(5):
            tracking.log(step, {"a": 1.0})
            tracking.flush()
        shaky.down = False
        tracking.log(5, {"a": 1.0})
        assert shaky.got == [], "it is left alone for a minute"
        tracking.close("finished")
    assert caplog.messages == ["tracking by shaky failed (gone); training goes on without it"]
    assert shaky.got == steady.got
    assert len(shaky.got) == 8


def test_a_value_that_is_never_taken_holds_up_no_others(monkeypatch):
    monkeypatch.setattr(guarded, "RETRY_S", 0.0)
    shaky = Shaky()
    tracking = Trackers({"shaky": shaky})
    tracking.start({})
    for step in range(11, 30):
        tracking.log(step, {"a": 1.0})
    tracking.close("finished")
    assert [what[1] for what in shaky.got[1:-1]] == [step for step in range(11, 30) if step != 13]


def test_ctrl_c_is_not_swallowed():
    class Stops(Shaky):
        def log(self, step, values):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trackers({"stops": Stops()}).log(1, {})


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["comet"], "there are tensorboard, mlflow"),
        (["wandb"], "names no project"),
        (["tensorboard:x"], "no such tracker"),
        (["tensorboard", "tensorboard"], "named twice"),
        pytest.param(["mlflow:http://x?experimnt=y"], "experimnt", marks=needs_mlflow),
    ],
)
def test_a_wrong_tracker_is_named(run, specs, words):
    with pytest.raises(DeepfakeError, match=words):
        open_trackers(specs, run)


@pytest.mark.parametrize(
    ("spec", "package", "extra"),
    [("mlflow", "mlflow", "track"), ("wandb:x", "wandb", "track")],
)
def test_a_missing_package_names_the_extra(run, monkeypatch, spec, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"deepfake-core\[{extra}\]"):
        open_trackers([spec], run)


def test_beside_the_main_process_nothing_is_tracked(tmp_path):
    tracking = open_trackers(["tensorboard", "nonsense"], RunDir(tmp_path / "run", writes=False))
    tracking.start({})
    tracking.close("finished")
    assert not (tmp_path / "run").exists()
