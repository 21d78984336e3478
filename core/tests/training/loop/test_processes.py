"""Several processes of ``accelerate launch`` train as one does."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_run
from tiny_run import RECIPE

from deepfake_core.contract.recipe import Phase
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.batches import Batches
from deepfake_core.training.loop import checkpoint

pytestmark = pytest.mark.torch

STEADY = RECIPE.model_copy(update={"phases": (Phase(epochs=4, lr=1e-2),), "save_every": 5})


def rows(folder):
    with (folder / "metrics_log.csv").open() as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def launch(processes, *arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", str(port), "--num_cpu_threads_per_process", "1", tiny_run.__file__]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tiny_run.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_two_processes_follow_the_loss_curve_of_one_and_end_together_by_the_clock(tmp_path):
    tiny_run.run(tmp_path / "one", STEADY, detector=tiny_run.Steady())
    on = STEADY.model_copy(update={"phases": (*STEADY.phases, Phase(minutes=0.01, lr=1e-2))})
    together = launch(2, tmp_path / "two", on.model_dump_json(), "--steady")
    assert together.returncode == 0, together.stderr[-3000:]
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == 4
    assert len(two) > 4
    for first, second in zip(one, two[:4], strict=True):
        assert second == pytest.approx(first, rel=1e-4)
    progress = checkpoint.read(tmp_path / "two" / "last.pt")["progress"]
    assert progress["ends"] == [16, two[-1]["step"]]


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(TrainingDataError, match=r"batch_size=8 does not give each of 3 processes.*multiple of 3"):
        Batches(tiny_run.Pixels(), STEADY, SimpleNamespace(num_processes=3))
