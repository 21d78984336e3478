"""End commands with SIGKILL at random moments, start them again, and compare what they leave with an undisturbed run.

    python benchmarks/reliability/kill.py --kills 50 --out kills.jsonl
    python benchmarks/reliability/kill.py --summary kills.jsonl

Each command runs in a fork of this process, which has imported what it needs, so that nearly all moments lie within its
work. It is ended up to three times in a row and then run to its end. Nothing may be lost: no file is missing or has
other bytes than after an undisturbed run, none is left over, and what was there before can be read after each kill.
Files whose bytes differ between two undisturbed runs, because they hold a time, only have to be there.

Training needs the ``torch`` extra, and the network of three convolutions of the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import samples

PLUGIN = Path(__file__).parents[2] / "core" / "tests" / "tiny_plugin"
IN_A_ROW = 3
"""Largest number of times that a command is ended before it is run to its end."""
TIME_LIMIT_S = 300.0
LOG = "log.txt"
UNCOMPARED = re.compile(r"(^|/)tensorboard/|\.lock$|\.sqlite-journal$|^errors.txt$")
"""Files of which there may be more after a run that was resumed; SQLite reads its journal, and replaces it."""


class Task(NamedTuple):
    """A command that is ended.

    Attributes:
        command: The command, run in a folder that :attr:`setup` filled.
        setup: Function that fills the folder before the command runs.
        resume: Command that goes on, where it is another one.
        modules: Modules that are imported before the fork.
        check: Function that returns what is wrong in the folder after a kill; empty when nothing is.
        printed: Whether what is printed is compared, too.
    """

    command: Sequence[str]
    setup: Callable[[Path], None]
    resume: Sequence[str] = ()
    modules: Sequence[str] = ()
    check: Callable[[Path, Path], str] = lambda _folder, _reference: ""
    printed: bool = False


def pictures(folder: Path) -> None:
    """Write sixteen pictures of each class to ``data/``."""
    for index in range(16):
        picture = samples.face(160).rotate(index - 8)
        for label, image in (("real", picture), ("fake", picture.resize((60, 60)).resize((160, 160)))):
            (folder / "data" / label).mkdir(parents=True, exist_ok=True)
            image.save(folder / "data" / label / f"{index:02}.jpg", quality=90)


def registry(folder: Path) -> None:
    """Write a registry with one version and an alias, and a package of the next version."""
    from deepfake_core.discovery.artifacts import read_bare, write_package
    from deepfake_registry.store.opening import open_registry

    weights = PLUGIN / "deepfake_tiny" / "weights"
    model = next(weights.glob("*.onnx"))
    store = open_registry(folder / "registry")
    for version in ("1", "2"):
        manifest = read_bare(model).manifest.model_copy(update={"version": version})
        write_package(folder / version, manifest, {"onnx": model, "safetensors": next(weights.glob("*.safetensors"))})
    store.push(folder / "1")
    store.move("tiny", "production", "1", reason="first")


def first_version_is_there(folder: Path, _reference: Path) -> str:
    """Return what is wrong with the version that was published before, and delete what was half written."""
    from deepfake_registry.store.opening import open_registry
    from deepfake_registry.store.upkeep import collect, verify

    store = open_registry(folder / "registry")
    problems = verify(store).problems
    collect(store, grace=timedelta(), delete=True)
    return "; ".join(
        [*problems, *([] if store.resolve("tiny@production").manifest.version == "1" else ["alias moved"])]
    )


def rows_are_whole(folder: Path, reference: Path) -> str:
    """Return what is wrong with the rows that were printed; they are the first ones of an undisturbed run."""
    rows, expected = (path.joinpath(LOG).read_text("utf-8").splitlines(keepends=True) for path in (folder, reference))
    cut = [row for row in rows if not row.endswith("\n")]
    return f"a row is cut off: {cut[0]!r}" if cut else "" if len(rows) <= len(expected) else "too many rows"


SETTINGS = ("phases.0.steps=20", "eval_every=4", "save_every=2", "batch_size=8")
TRAIN = (
    *("train", "tiny", "--run-dir", "runs/one", "--device", "cpu", "--data", "data", "--recipe", "smoke"),
    *(word for text in SETTINGS for word in ("--set", text)),
)
SCORE = (
    *("run", "--detector", "tiny", "--device", "cpu", "--scenario", "accuracy", "--dataset", "mine=data"),
    *("--out", "out"),
)
TASKS = {
    "train": Task(
        TRAIN,
        pictures,
        (*TRAIN, "--resume"),
        ("deepfake_core.training.train", "deepfake_core.training.run", "torch.utils.tensorboard"),
    ),
    "prepare": Task(("data", "prepare", "data", "--out", "crops"), pictures, (), ("deepfake_core.data.crops.prepare",)),
    "push": Task(
        ("registry", "push", "2", "--registry", "registry"),
        registry,
        (),
        ("deepfake_registry.store.opening", "deepfake_core.discovery.artifacts"),
        first_version_is_there,
    ),
    "predict": Task(
        ("predict", "data", "--format", "csv"),
        pictures,
        (),
        ("onnxruntime", "deepfake_core.loading.load"),
        rows_are_whole,
        printed=True,
    ),
    "score": Task(SCORE, pictures, (*SCORE, "--resume"), ("deepfake_bench.runner.launcher",)),
}


def start(arguments: Sequence[str], folder: Path) -> int:
    """Start ``dfbench`` in a fork of this process, in a folder, with its output in ``log.txt``; return its id."""
    if process := os.fork():
        return process
    status = 1
    try:
        os.chdir(folder)
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
        from deepfake_bench.cli import app

        app([*arguments])
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def wait(process: int, limit_s: float) -> int | None:
    """Return the exit status of a process, negative for a signal; ``None`` when it runs longer than the limit."""
    end = time.monotonic() + limit_s
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(min(0.005, max(0.0, end - time.monotonic())))


def killed(arguments: Sequence[str], folder: Path, after_s: float) -> bool:
    """Run a command and end it after a time; return whether it was still running then."""
    process = start(arguments, folder)
    if wait(process, after_s) is not None:
        return False
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def finished(task: Task, folder: Path, *, resumed: bool) -> str:
    """Run a command to its end; return what went wrong, empty when nothing did."""
    process = start((task.resume if resumed else ()) or task.command, folder)
    status = wait(process, TIME_LIMIT_S)
    if status is None:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return f"no end within {TIME_LIMIT_S:g} s"
    return f"status {status}: {(folder / 'errors.txt').read_text('utf-8')[-500:]}" if status else ""


def contents(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not UNCOMPARED.search(path.relative_to(folder).as_posix())
    }


class Round:
    """Undisturbed runs of a task, and disturbed ones that are compared with them."""

    def __init__(self, name: str, root: Path) -> None:
        self.task, self.folder, self.reference = TASKS[name], root / name, root / f"{name}-undisturbed"
        for module in self.task.modules:
            importlib.import_module(module)
        runs = []
        for _ in range(2):
            self._fresh()
            start_s = time.monotonic()
            if problem := finished(self.task, self.folder, resumed=False):
                raise SystemExit(f"{name}: {problem}")
            self.seconds = time.monotonic() - start_s
            runs.append(contents(self.folder))
        self.wanted = runs[0]
        self.volatile = {path for path in runs[0] | runs[1] if runs[0].get(path) != runs[1].get(path)}
        if not self.task.printed:
            self.volatile.add(LOG)
        shutil.rmtree(self.reference, ignore_errors=True)
        shutil.copytree(self.folder, self.reference)

    def _fresh(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.task.setup(self.folder)

    def disturbed(self, rng: random.Random) -> tuple[int, list[str]]:
        """Return the number of kills of one disturbed run, and what was wrong after them."""
        self._fresh()
        kills, problems = 0, []
        for number in range(rng.randint(1, IN_A_ROW)):
            arguments = (self.task.resume if number else ()) or self.task.command
            if not killed(arguments, self.folder, rng.uniform(0, self.seconds)):
                continue
            kills += 1
            if problem := self.task.check(self.folder, self.reference):
                problems.append(f"after kill {kills}: {problem}")
        if problem := finished(self.task, self.folder, resumed=True):
            return kills, [*problems, problem]
        found = contents(self.folder)
        problems += [f"missing: {path}" for path in self.wanted if path not in found]
        problems += [f"left over: {path}" for path in found if path not in self.wanted and path not in self.volatile]
        problems += [
            f"other bytes: {path}"
            for path, digest in self.wanted.items()
            if found.get(path, digest) != digest and path not in self.volatile
        ]
        return kills, problems


def main() -> int:
    """Parse the command line, and end commands until each was ended often enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=tuple(TASKS), action="append", help="task to end; by default all in turn")
    parser.add_argument("--kills", type=int, default=50, help="kills of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("kills"), help="folder that the commands run in")
    parser.add_argument("--out", type=Path, default=Path("kills.jsonl"), help="file that results are appended to")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="print the counts of a file, and end")
    chosen = parser.parse_args()
    if chosen.summary:
        print(summary(chosen.summary))
        return 0
    failures = 0
    sys.path.insert(0, str(PLUGIN))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH", "")]))
    for name in chosen.task or TASKS:
        rng, kills = random.Random(f"{chosen.seed}:{name}"), 0
        prepared = Round(name, chosen.work.resolve())
        while kills < chosen.kills:
            more, problems = prepared.disturbed(rng)
            kills += more
            failures += bool(problems)
            line = {"task": name, "seed": chosen.seed, "kills": more, "problems": problems, "when": time.strftime("%F")}
            with chosen.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            for problem in problems:
                print(f"{name}: {problem}", flush=True)
    return 1 if failures else 0


def summary(file: Path) -> str:
    """Return the counts of a file as a table."""
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    rows = ["| task | runs | kills | runs with a fault |", "|---|---|---|---|"]
    for name in TASKS:
        mine = [line for line in lines if line["task"] == name]
        kills, faults = sum(line["kills"] for line in mine), sum(bool(line["problems"]) for line in mine)
        rows.append(f"| {name} | {len(mine)} | {kills} | {faults} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
