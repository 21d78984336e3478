"""Comparison with what users would pick instead, on the same image: whole processes, then warm detectors.

Run from the repository root on an idle machine, with torch, transformers, timm, OpenVINO and the detectors ``siglip``,
``lite`` and ``cvt`` installed; a peer that is not installed is named in the table::

    python benchmarks/suite/peers.py --threads 2 --optimum optimum/bin/python

``optimum_peer.py`` says how to make the environment whose Python ``--optimum`` names.

First, ``dfbench predict`` and ``transformers.pipeline`` run as whole processes; the peer is a SigLIP-B/16 classifier
that is made locally in Hugging Face format. The goals are at most 1/5 of the wall time, and at most 1/3 of the peak
memory. Then every architecture that a detector shares with a peer is timed warm: from the file to the score, and the
network alone. The goal is never to be slower. Weights are random everywhere: speed and memory do not depend on them.
All contenders take turns, so that a disturbance meets all of them; medians count. The page "Speed of exported models"
explains every line.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from contenders import ARCHITECTURES, PEERS, PIPELINE, STAGES, Architecture, Contender, Setting, ours
from goals import NOT_SLOWER, Goal, Row, publish

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
# The peer is imported in child processes only: what this process holds would count as their peak memory. Without
# ensure_torchvision it would not run at all where a torchvision for CUDA lies beside a torch for CPUs.
MAKE_PEER = """
import sys
from deepfake_core.runtimes.torchvision_ops import ensure_torchvision
ensure_torchvision()
sys.path.insert(0, sys.argv[2])
from hugging_face import SIDES, network, processor
network("siglip").save_pretrained(sys.argv[1])
processor("siglip", SIDES["siglip"]).save_pretrained(sys.argv[1])
"""
RUN_PEER = """
import sys
from deepfake_core.runtimes.torchvision_ops import ensure_torchvision
ensure_torchvision()
from transformers import pipeline
print(pipeline("image-classification", model=sys.argv[1])(sys.argv[2]))
"""
MAKE_PICTURE = """
import sys
from pathlib import Path
from deepfake_bench.scenarios.speed.portrait import write_picture
print(write_picture(Path(sys.argv[1])))
"""
MAKE_UNTRAINED = """
import sys
from deepfake_core import load
load(sys.argv[1], untrained=True).export(out=sys.argv[2])
"""
WALL, MEMORY = Goal("≤", 1 / 5), Goal("≤", 1 / 3)


def python(code: str, *arguments: str) -> str:
    """Run a program in a process of its own and return what it printed."""
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own programs
    return done.stdout.strip()


def make_peer(folder: Path) -> str:
    """Write a SigLIP-B/16 classifier in Hugging Face format and return its folder."""
    peer = str(folder / "pipeline")
    python(MAKE_PEER, peer, str(Path(__file__).parent))
    return peer


def measured(command: list[str]) -> tuple[float, float]:
    """Return wall time in s and peak resident memory in MB of a process, from its start to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"status {process.returncode} from: {' '.join(command)}")
    return wall_s, usage.ru_maxrss * 1024 / 1e6


def processes(folder: Path, picture: str, detector: str, *, untrained: bool, starts: int) -> Iterator[Row]:
    """Yield time and memory of ``dfbench predict`` and ``transformers.pipeline``, each in fresh processes.

    Args:
        folder: Folder for the model of the peer.
        picture: Path of the image to score.
        detector: Detector of ``dfbench predict``.
        untrained: Whether to export the detector untrained, and run that file.
        starts: Number of fresh processes of each program.
    """
    if absence := PEERS[PIPELINE].absence():
        yield Row(f"{PIPELINE}, whole process", None, note=absence)
        return
    label = f"dfbench predict, {detector}{' (untrained)' if untrained else ''}"
    if untrained:
        name, detector = detector, str(folder / "untrained.onnx")
        python(MAKE_UNTRAINED, name, detector)
    program = [sys.executable, "-W", "ignore", "-c"]
    commands = {
        f"{PIPELINE}, SigLIP-B/16 (untrained)": [*program, RUN_PEER, make_peer(folder), picture],
        label: [sys.executable, "-m", "deepfake_bench", "predict", picture, "--detector", detector],
    }
    yield from processes_compared(commands, starts)


def processes_compared(commands: dict[str, list[str]], starts: int) -> Iterator[Row]:
    """Yield time and memory of two programs that take turns, the peer first, and their ratios."""
    for command in commands.values():
        measured(command)  # fills the disk cache
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(starts):
        for name, command in commands.items():
            taken[name].append(measured(command))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in taken.items()}
    for name, (wall_s, peak_mb) in medians.items():
        yield Row(f"{name}, whole process", wall_s, "s")
        yield Row(f"{name}, peak resident memory", peak_mb, "MB", timed=False)
    theirs, ours = medians.values()
    ratio = "**dfbench predict / transformers.pipeline, {}**"
    yield Row(ratio.format("whole process"), ours[0] / theirs[0], goal=WALL)
    yield Row(ratio.format("peak resident memory"), ours[1] / theirs[1], goal=MEMORY, timed=False)


def contest(
    item: Architecture, folder: Path, picture: str, *, threads: int, repeats: int, optimum: str = ""
) -> Iterator[Row]:
    """Yield the times of every warm contender of an architecture, stage by stage, and who cannot take part.

    Args:
        item: Architecture.
        folder: Folder for exported files.
        picture: Path of the image to score.
        threads: Threads of every contender.
        repeats: Turns of each contender.
        optimum: Python of an environment that has optimum; empty for none.
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.loading.load import load
    from deepfake_core.timing import medians_ms

    absences = {name: PEERS[name].absence(optimum) for name in item.peers}
    for name, absence in absences.items():
        if absence:
            yield Row(f"{item.detector}, {name}", None, note=absence)
    try:
        eager = load(
            item.detector, untrained=True, backend="torch", device="cpu", threads=threads, config=dict(item.config)
        )
    except DeepfakeError as error:
        yield Row(f"{item.detector}, ours", None, note=str(error))
        return
    with ExitStack() as stack:
        setting = Setting(item, folder, picture, threads, eager.manifest.preprocess.size[0], optimum, stack)
        mine = list(ours(eager, setting))
        theirs = [one for name, absence in absences.items() if not absence for one in PEERS[name].make(setting)]
        for stage in STAGES:
            calls = {one.name: one.stages[stage] for one in (*theirs, *mine) if stage in one.stages}
            ms = medians_ms(calls, repeats)
            yield from compared(f"{item.detector} ({eager.manifest.weights}), {stage}", [*theirs, *mine], ms)


def compared(what: str, everyone: Sequence[Contender], ms: Mapping[str, float]) -> Iterator[Row]:
    """Yield the time of each contender, then the ratio of this project to each peer.

    The fastest contender of this project that computes in the precision of the peer counts; a peer in torch is compared
    with this project in torch as well.

    Args:
        what: Name of what was timed.
        everyone: All contenders.
        ms: Name of a timed contender → its time in ms.
    """
    timed = [one for one in everyone if one.name in ms]
    for one in timed:
        yield Row(f"{what}, {one.name}", ms[one.name], "ms", note="" if one.computes == "f32" else one.computes)
    for peer in (one for one in timed if not one.ours):
        alike = (one for one in timed if one.ours and one.computes == peer.computes)
        for rank, mine in enumerate(sorted(alike, key=lambda one: ms[one.name])):
            if rank == 0 or (mine.eager and peer.eager):
                yield Row(f"**{what}, {mine.name} / {peer.name}**", ms[mine.name] / ms[peer.name], goal=NOT_SLOWER)


def main() -> None:
    """Print the table, line by line as it is measured."""
    parser = argparse.ArgumentParser(description="this project beside what users would pick instead")
    parser.add_argument("--threads", type=int, default=2, help="threads of every contender")
    parser.add_argument("--optimum", default="", metavar="PYTHON", help="Python of an environment that has optimum")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the table as JSON")
    parser.add_argument("--only", action="append", choices=tuple(ARCHITECTURES), help="architecture; may be repeated")
    parser.add_argument("--detector", default="lite", help="detector of the whole process")
    parser.add_argument("--untrained", action="store_true", help="export that detector untrained and run that file")
    parser.add_argument("--starts", type=int, default=5, help="fresh processes of each program")
    parser.add_argument("--repeats", type=int, default=15, help="turns of each warm contender")
    options = parser.parse_args()
    threads = str(options.threads)
    os.environ |= {**OFFLINE, "OMP_NUM_THREADS": threads, "DEEPFAKE_THREADS": threads}
    publish(rows(options), threads=options.threads, file=options.json)


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Yield every line; processes come first, while this one is small."""
    with tempfile.TemporaryDirectory() as name:
        folder, picture = Path(name), python(MAKE_PICTURE, name)
        yield from processes(folder, picture, options.detector, untrained=options.untrained, starts=options.starts)
        for item in options.only or ARCHITECTURES:
            yield from contest(
                ARCHITECTURES[item],
                folder,
                picture,
                threads=options.threads,
                repeats=options.repeats,
                optimum=options.optimum,
            )


if __name__ == "__main__":
    main()
