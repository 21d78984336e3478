"""The short form of ``benchmarks/reliability/mutate.py``, and what it counts as a failure."""

from __future__ import annotations

import os
import signal

import mutate
import mutations
import pytest
import samples

import deepfake_core
from deepfake_core.errors import InputError


@pytest.fixture(scope="module")
def lite():
    with deepfake_core.load("lite", backend="onnxruntime", device="cpu", threads=1) as detector:
        yield detector


@pytest.fixture(scope="module")
def unharmed():
    return {kind: make() for kind, make in mutate.kinds().items()}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged files before it refuses them
@pytest.mark.parametrize(("kind", "count"), [("pictures", 84), ("videos", 13)])
def test_damaged_files_give_results(lite, unharmed, kind, count):
    for index in range(count):
        name, data = mutations.mutated(unharmed[kind], 0, index)
        verdict, detail = mutate.judge(lite, data)
        assert verdict in (*mutate.VERDICTS, "InputError"), f"input {index} ({name}): {detail}"


def test_a_number_stands_for_the_same_bytes(unharmed):
    assert samples.videos() == unharmed["videos"]
    again = samples.pictures()
    assert again == unharmed["pictures"]
    found = [mutations.mutated(again, 3, index) for index in range(60)]
    assert found == [mutations.mutated(unharmed["pictures"], 3, index) for index in range(60)]
    assert sum(data != again[name] for name, data in found) > 50


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (InputError("x", "damaged"), "InputError"),
        (KeyError("chunk"), "failure"),
        (MemoryError(), "failure"),
        (RecursionError(), "failure"),
    ],
)
def test_only_an_input_error_is_no_failure(answer, counted):
    class Detector:
        def predict(self, data):
            raise answer

    assert mutate.judge(Detector(), b"")[0] == counted


def test_a_crash_and_a_hang_are_failures_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    class Worker(mutate.Worker):
        def __init__(self, kind, seed):
            self.kind, self.seed, self.peak_mb = kind, seed, 1
            self.connection, theirs = mutate.multiprocessing.get_context("fork").Pipe()
            self.process = mutate.multiprocessing.get_context("fork").Process(target=act, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()

    def act(connection):
        while True:
            index = connection.recv()
            if index == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if index != 2:
                connection.send((mutate.Outcome(index, "x", "real", "", 0.0), 1))

    monkeypatch.setattr(mutate, "Worker", Worker)
    monkeypatch.setattr(mutate, "HANG_LIMIT_S", 0.3)
    monkeypatch.setattr(mutate, "BLOCK", 3)
    monkeypatch.setattr(mutate, "kinds", lambda: {"pictures": lambda: {"a.png": b"abc"}})
    out = tmp_path / "out.jsonl"
    assert mutate.run("pictures", 0, 4, out) == 2
    said = capsys.readouterr().out
    assert "input 1 of seed 0 (a.png): the process ended with status -9" in said
    assert "input 2 of seed 0 (a.png): no answer within 0.3 s" in said
    assert len(list((tmp_path / "out-failures").iterdir())) == 2
    assert mutate.run("pictures", 0, 5, out) == 0  # the fifth alone
    lines = mutate.read(out)
    assert [(line["from"], line["to"]) for line in lines] == [(0, 3), (3, 4), (4, 5)]
    assert "| pictures | 5 | 3 | 0 | 0 | 0 | 0 | 0 | 2 |" in mutate.summary([out])
