"""``dfbench predict`` beside ``transformers.pipeline``, each in a fresh process, on the same picture.

Run from the repository root on an idle machine, with transformers and torch installed::

    python benchmarks/suite/peers.py

The peer is a SigLIP-B/16 classifier with random weights, made locally in Hugging Face format: speed and memory do
not depend on the weights. The two take turns, so that a disturbance meets both. The goals are ratios: at most 1/5 of
the wall time, and at most 1/3 of the peak memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The peer is imported in child processes only: what this process holds would count as their peak memory. Without
# ensure_importable it would not run at all where a torchvision for CUDA lies beside a torch for CPUs.
MAKE_PEER = """
import sys
from deepfake_core._torchvision import ensure_importable
ensure_importable()
from transformers import SiglipConfig, SiglipForImageClassification, SiglipImageProcessor
config = SiglipConfig(num_labels=2, id2label={0: "Fake", 1: "Real"}, label2id={"Fake": 0, "Real": 1})
SiglipForImageClassification(config).save_pretrained(sys.argv[1])
SiglipImageProcessor(size={"height": 224, "width": 224}).save_pretrained(sys.argv[1])
"""
RUN_PEER = """
import sys
from deepfake_core._torchvision import ensure_importable
ensure_importable()
from transformers import pipeline
print(pipeline("image-classification", model=sys.argv[1])(sys.argv[2]))
"""
MAKE_PICTURE = """
import sys
from pathlib import Path
from deepfake_bench.scenarios._timing import write_picture
print(write_picture(Path(sys.argv[1])))
"""
MAKE_UNTRAINED = """
import sys
from deepfake_core import load
load(sys.argv[1], untrained=True).export(out=sys.argv[2])
"""
GOALS = {"wall time": 1 / 5, "peak memory": 1 / 3}


def python(code: str, *arguments: str) -> str:
    """Run a program in a process of its own; returns what it printed last."""
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own programs
    return done.stdout.strip()


def measured(command: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak resident memory in MB of a process, from its start to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"status {process.returncode} from: {' '.join(command)}")
    return wall_s, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Take turns and print the medians, the ratios and the goals."""
    parser = argparse.ArgumentParser(description="dfbench predict beside transformers.pipeline")
    parser.add_argument("--detector", default="lite")
    parser.add_argument("--untrained", action="store_true", help="export the detector untrained and run that file")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        peer, detector = str(Path(folder, "siglip")), options.detector
        python(MAKE_PEER, peer)
        picture = python(MAKE_PICTURE, folder)
        if options.untrained:
            detector = str(Path(folder, "untrained.onnx"))
            python(MAKE_UNTRAINED, options.detector, detector)
        commands = {
            "transformers.pipeline": [sys.executable, "-W", "ignore", "-c", RUN_PEER, peer, picture],
            "dfbench predict": [sys.executable, "-m", "deepfake_bench", "predict", picture, "--detector", detector],
        }
        for command in commands.values():
            measured(command)  # fills the disk cache
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                taken[name].append(measured(command))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in taken.items()}
    for name, (wall_s, peak_mb) in medians.items():
        print(f"{name:24}{wall_s:8.3f} s{peak_mb:8.0f} MB")
    theirs, ours = medians.values()
    for (what, goal), mine, other in zip(GOALS.items(), ours, theirs, strict=True):
        print(f"{what:24}{mine / other:8.3f}   goal {goal:.3f}: {'met' if mine / other <= goal else 'missed'}")


if __name__ == "__main__":
    main()
