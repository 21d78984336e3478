"""A run's folder: what is in it, who may write to it, and what a kill leaves."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import pytest
import yaml

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.settings import flat
from deepfake_core.training.runs import environment, locks
from deepfake_core.training.runs.environment import frozen_requirements, git_state
from deepfake_core.training.runs.files import read_history, status
from deepfake_core.training.runs.rundir import RunDir
from deepfake_core.training.runs.stored import read_config

SETTINGS = {"detector": "bright", "config": {"size": 8}, "recipe": {"seed": 42, "monitor": "auc"}}
DATA = {"data": "image-folder:faces", "fingerprint": "ab12", "content": "cd12", "counts": {"train": 8, "valid": 4}}
HISTORY = [
    {"epoch": 0.5, "step": 4, "loss": 0.1 + 0.2, "auc": 0.75, "acc": 1 / 3},
    {"epoch": 1.0, "step": 8, "loss": 0.2, "auc": 0.875, "acc": 2 / 3, "auc_faces": 0.5},
]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.2)


def names(folder):
    return {path.name for path in folder.iterdir()}


# 001-12, 001-17, 001-19, 001-22, 002-4, 004-9
def test_a_run_leaves_every_file(tmp_path):
    folder = tmp_path / "runs" / "first"
    run = RunDir(folder)
    with run.log_file():
        run.start(SETTINGS, DATA)
        run.record_images(["faces/real/1.png", "faces/fake/1.png"], ["faces/real/9.png"])
        run.write_metrics(HISTORY)
        run.finish({"test_metrics": {"auc": 0.9187, "accuracy": 0.8756}})
    assert names(folder) >= {
        "config.yaml", "data.json", "git.json", "metrics.json", "metrics_log.csv", "requirements.txt", "run.log",
        "system.json", "unreadable.csv",
    }  # fmt: skip
    assert yaml.safe_load((folder / "config.yaml").read_text()) == SETTINGS == read_config(folder)
    assert json.loads((folder / "data.json").read_text()) == DATA
    system = json.loads((folder / "system.json").read_text())
    assert (system["device"], system["mixed_precision"]) == ("cpu", False)
    assert {"torch", "python", "cuda_devices", "device_name", "threads"} <= set(system)
    log = (folder / "run.log").read_text()
    for part in (
        "started",
        "monitor: auc",
        "training on cpu",
        "faces/fake/1.png",
        "1 pictures cannot be read",
        "ended",
    ):
        assert part in log
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d INFO ", log)


# 004-9
def test_metrics_json_is_the_documented_one_and_keeps_other_sections(tmp_path):
    run = RunDir(tmp_path)
    run.write_json("metrics.json", {"validation": {"auc": 0.875}, "timestamp": "old"})
    run.write_metrics(HISTORY)
    run.finish({"test_metrics": {"auc": 0.9187, "accuracy": math.nan}})
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["history"] == {"train_loss": [0.1 + 0.2, 0.2], "val_auc": [0.75, 0.875], "val_acc": [1 / 3, 2 / 3]}
    assert found["best_val_auc"] == 0.875
    assert found["test_metrics"] == {"auc": 0.9187, "accuracy": None}, "JSON has no NaN"
    assert found["validation"] == {"auc": 0.875}
    assert re.match(r"20\d\d-.*\+00:00$", found["timestamp"])


# 001-17
def test_the_log_of_metrics_reads_back_to_the_same_bits_and_may_grow_columns(tmp_path):
    with RunDir(tmp_path) as run:
        run.write_metrics(HISTORY[:1])
        run.write_metrics(HISTORY)
    assert read_history(tmp_path) == HISTORY
    with (tmp_path / "metrics_log.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["epoch", "step", "loss", "auc", "acc", "auc_faces"]
    assert rows[1][-1] == ""


def test_a_used_folder_is_refused_without_resume(tmp_path, impatient):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DeepfakeError, match=r"not empty \(thesis\.txt\), and holds no run"):
        RunDir(tmp_path)
    assert names(tmp_path) == {"thesis.txt"}, "nothing is written into a folder that is refused"
    with pytest.raises(DeepfakeError, match="is a file"):
        RunDir(tmp_path / "thesis.txt")
    with pytest.raises(DeepfakeError, match="holds no run"):
        RunDir(tmp_path, resume=True)
    assert names(tmp_path) == {"thesis.txt"}


def test_a_first_start_that_failed_can_be_repeated(tmp_path, impatient):
    with RunDir(tmp_path) as run, run.log_file():
        run.start(SETTINGS, DATA)
        run.record_images([], {"faces/fake/1.png": "torn"})
    (tmp_path / "tensorboard").mkdir()
    for name in ("events.out.tfevents.1.host", "notes.txt"):
        (tmp_path / "tensorboard" / name).touch()
    (tmp_path / ".last.pt.abc.tmp").write_bytes(b"half")
    with RunDir(tmp_path) as run, run.log_file():
        assert not run.resumed
        assert not (tmp_path / "unreadable.csv").exists()
        run.start({**SETTINGS, "detector": "other"}, DATA)
    assert read_config(tmp_path)["detector"] == "other"
    assert (tmp_path / "run.log").read_text().count("started") == 2
    assert names(tmp_path / "tensorboard") == {"notes.txt"}, "only files of a run are removed"
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DeepfakeError, match=r"not empty \(thesis\.txt\)"):
        RunDir(tmp_path)
    (tmp_path / "thesis.txt").unlink()
    for name in ("last.pt", "best.safetensors", "metrics.json"):
        (tmp_path / name).touch()
        with pytest.raises(DeepfakeError, match="holds a run; go on with it by --resume"):
            RunDir(tmp_path)
        (tmp_path / name).unlink()


def test_a_finished_run_without_its_resume_state_does_not_start_all_over(tmp_path):
    with RunDir(tmp_path) as run:
        run.start(SETTINGS, DATA)
        run.write_metrics(HISTORY)
        run.finish({})
    with pytest.raises(DeepfakeError, match=r"last\.pt was deleted.*--start"):
        RunDir(tmp_path, resume=True)
    (tmp_path / "last.pt").touch()
    with RunDir(tmp_path, resume=True) as run:
        assert run.resumed


def test_there_is_one_writer_at_a_time(tmp_path, impatient):
    run = RunDir(tmp_path)
    assert status(tmp_path) == "running"
    with pytest.raises(DeepfakeError, match="another process"):
        RunDir(tmp_path, resume=True)
    with run.log_file():
        pass
    assert status(tmp_path) == "interrupted"
    with RunDir(tmp_path, resume=True) as again:
        again.finish({})
    assert status(tmp_path) == "finished"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_writer_lets_the_next_one_in_though_its_children_linger(tmp_path):
    script = textwrap.dedent(
        """
        import os, sys, time
        from deepfake_core.training.runs.rundir import RunDir
        run = RunDir(sys.argv[1])
        (run.folder / "run.log").touch()
        (run.folder / ".last.pt.abc.tmp").write_bytes(b"half")
        if os.fork() == 0:  # a loading process that has not noticed yet
            time.sleep(60)
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert writer.stdout.readline() == "ready\n"
        writer.kill()
        writer.wait()
        start = time.monotonic()
        with RunDir(tmp_path, resume=True):
            pass
        assert time.monotonic() - start < 50, "it did not wait for the child"
        assert names(tmp_path) == {".lock", "run.log"}, "the torn file is gone"
    finally:
        os.killpg(writer.pid, signal.SIGKILL)
        writer.stdout.close()


def test_the_log_goes_on_after_a_torn_line(tmp_path):
    logger = logging.getLogger("deepfake.elsewhere")
    level = logging.getLogger("deepfake").level
    run = RunDir(tmp_path)
    with warnings.catch_warnings(record=True), run.log_file():
        warnings.simplefilter("always")
        logger.info("one")
        logging.getLogger("other").warning("not ours")
        warnings.warn("careful", stacklevel=1)
    logger.warning("between the runs")
    with (tmp_path / "run.log").open("a") as stream:
        stream.write("2026-01-01 INFO half a li")
    again = RunDir(tmp_path, resume=True)
    with pytest.raises(ZeroDivisionError), again.log_file():
        _ = 1 / 0
    lines = (tmp_path / "run.log").read_text().splitlines()
    said = [line.split(" ", 2)[-1] for line in lines]
    assert said[1] == "deepfake.elsewhere: one"
    assert "UserWarning: careful" in said[2]
    assert lines[4].endswith("half a li")
    assert said[5] == "deepfake.run: resumed"
    assert "stopped: ZeroDivisionError" in said[6]
    assert lines[-1].startswith("ZeroDivisionError"), "with its traceback"
    assert not [line for line in lines if "not ours" in line or "between the runs" in line]
    assert logging.getLogger("deepfake").level == level


# 001-19, 001-26
def test_unreadable_pictures_add_up(tmp_path):
    with RunDir(tmp_path) as run:
        run.record_images([], {"a,b.png": "cut short", "c\udcff.png": ""})
        run.record_images([], ["a,b.png", "d.png"])
    with (tmp_path / "unreadable.csv").open(errors="surrogateescape", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["file", "reason"], ["a,b.png", "cut short"], ["c\udcff.png", ""], ["d.png", ""],
        ]  # fmt: skip


# 001-24
@pytest.mark.parametrize(
    ("settings", "data", "other"),
    [
        ({"recipe": {"seed": 1}}, {}, "another recipe;"),
        ({"start": "bright 1a2b"}, {"fingerprint": "cd34"}, "another start and another fingerprint;"),
        ({}, {"counts": {"train": 9, "valid": 4}}, "another counts;"),
        ({}, {"content": "ef56"}, "another content of the files;"),
    ],
)
def test_a_run_goes_on_with_what_it_began_with_or_not_at_all(tmp_path, settings, data, other):
    with RunDir(tmp_path) as run:
        run.start(SETTINGS, DATA)
    with RunDir(tmp_path, resume=True) as run:
        run.start({**SETTINGS, "data": "moved"}, {**DATA, "data": "moved"})
        with pytest.raises(DeepfakeError, match=other):
            run.start({**SETTINGS, **settings}, {**DATA, **data})
    assert read_config(tmp_path) == SETTINGS


def test_what_belongs_to_the_machine_may_change_and_is_stored(tmp_path):
    whole = TrainRecipe().model_dump(mode="json")
    other = {**whole, "workers": 0, "compile": True, "checkpointing": True}
    with RunDir(tmp_path) as run:
        run.start({**SETTINGS, "recipe": whole}, DATA)
    with RunDir(tmp_path, resume=True) as run:
        run.start({**SETTINGS, "recipe": other, "data": "moved"}, DATA)
        assert read_config(tmp_path) == {**SETTINGS, "recipe": other}
        with pytest.raises(DeepfakeError, match="another recipe"):
            run.start({**SETTINGS, "recipe": {**other, "batch_size": 8}}, DATA)


def test_a_run_that_began_before_a_setting_existed_goes_on(tmp_path):
    whole = TrainRecipe().model_dump(mode="json")
    older = {name: value for name, value in whole.items() if name != "allow_shared_identities"}
    with RunDir(tmp_path) as run:
        run.start({**SETTINGS, "recipe": older}, DATA)
    with RunDir(tmp_path, resume=True) as run:
        run.start({**SETTINGS, "recipe": whole}, DATA)
        with pytest.raises(DeepfakeError, match="another recipe"):
            run.start({**SETTINGS, "recipe": {**whole, "allow_shared_identities": True}}, DATA)


def test_a_process_beside_the_main_one_writes_nothing(tmp_path):
    run = RunDir(tmp_path / "run", writes=False)
    with run.log_file():
        run.start(SETTINGS, DATA)
        run.record_images(["a"], ["b"])
        run.write_metrics(HISTORY)
        assert run.finish({}) == {}
    assert run.last == tmp_path / "run" / "last.pt"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "metrics_log.csv"])
def test_a_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"step,auc\n1,\xff{[" if name.endswith("csv") else b"\xff\x00{[")
    with pytest.raises(DeepfakeError, match=rf"{re.escape(name)}: cannot be read"):
        {"config.yaml": read_config, "metrics.json": status, "metrics_log.csv": read_history}[name](tmp_path)


def test_settings_are_flattened():
    settings = {"detector": "bright", "recipe": {"seed": 42, "phases": [{"lr": 1e-3}], "betas": [0.9, 1]}}
    assert flat(settings) == {
        "detector": "bright", "recipe.seed": 42, "recipe.phases.0.lr": 1e-3, "recipe.betas": [0.9, 1]
    }  # fmt: skip


def test_no_run_is_said_so(tmp_path):
    with pytest.raises(DeepfakeError, match=r"holds no run \(no config.yaml\)"):
        read_config(tmp_path / "nothing")
    assert read_history(tmp_path) == []


# 001-12, 001-22
def test_the_commit_is_recorded(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert git_state(tmp_path)["commit"] is None
    assert "not a git repository" in git_state(tmp_path)["reason"]
    git("init", "--initial-branch", "main")
    assert git_state(tmp_path)["commit"] is None
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    found = git_state(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])
    assert (found["branch"], found["dirty"]) == ("main", False)
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path)["dirty"] is True
    git("checkout", "--detach")
    assert git_state(tmp_path)["branch"] is None


def test_no_git_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state()["reason"] == "git is not installed"
    monkeypatch.setattr(environment, "GIT_TIMEOUT_S", 1e-9)
    assert git_state()["commit"] is None


# 001-22
def test_requirements_are_frozen():
    lines = frozen_requirements().splitlines()
    assert lines == sorted(lines, key=lambda line: re.sub(r"[-_.]+", "-", line.split("==")[0]).lower())
    assert any(line.startswith("torch==") for line in lines)
    assert not [line for line in lines if not re.match(r"[\w.-]+==\S+(  # \S.*)?$", line)]
