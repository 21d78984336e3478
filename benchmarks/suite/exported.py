"""Gains of exports as ratios within one run, with their goals: speed, size, start-up time and memory.

Run from the repository root on an idle machine, with torch, transformers and every detector of FOLDER installed::

    dfbench parity --data my-pictures/ --out table/ --keep FOLDER
    python benchmarks/suite/exported.py --models FOLDER --threads 2 --optimum optimum/bin/python

FOLDER holds files named ``DETECTOR-FORMAT-PRECISION.SUFFIX``, such as ``siglip-onnx-int8.onnx``; only these are
measured. ``optimum_peer.py`` says how to make the environment whose Python ``--optimum`` names.

Files that are compared take turns in one process, with the same number of threads and one input; medians count. Of
several int8 files of a detector, the fastest counts. The page "Speed of exported models" explains every line. Where
other work took more than a twentieth of the processors, the figures do not count, and the script says so instead of
giving a verdict: torch, whose threads spin while they wait, loses far more by it than the others.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from goals import NOT_SLOWER, Goal, Row, publish
from hugging_face import SIDES, network
from numpy.typing import NDArray
from peers import MAKE_PICTURE, OFFLINE, RUN_PEER, make_peer, measured, python

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

NAME = re.compile(
    r"(?P<detector>\w+)-(?P<format>onnx|openvino|pt2|torchscript)-"
    r"(?P<precision>fp32|fp16-storage|bf16|int8-weights|int8)\.(?:onnx|xml|pt2|pt)"
)
COMPUTES_IN = {"int8": "int8", "bf16": "bf16"}
"""Precision of a file → precision of its arithmetic, where that is not float32."""
TORCH = {"eager": "torch eager", "transformers": "transformers eager"}
STARTS = 7  # fresh processes of which the median counts
RUN_PROBE = "from deepfake_bench.scenarios.speed.probe import main; main()"
GAIN = {"siglip": Goal("≥", 3), "cvt": Goal("≥", 6), "radar": Goal("≥", 2), "dualstream": Goal("≥", 1.8)}
FLOORS = Goal("≤", 1.6)
LOAD_S = Goal("≤", 0.6)
SIZE = Goal("≤", 0.27)
MEMORY = Goal("≤", 1 / 3)


@dataclass(frozen=True, slots=True)
class Export:
    """Exported file of the folder."""

    detector: str
    format: str
    precision: str
    path: Path

    @property
    def size_bytes(self) -> int:
        """Size of the file and, for OpenVINO, of the weights beside it."""
        files = (self.path, self.path.with_suffix(".bin")) if self.format == "openvino" else (self.path,)
        return sum(file.stat().st_size for file in files)


Exports = Mapping[tuple[str, str, str], Export]


def found(folder: Path) -> dict[tuple[str, str, str], Export]:
    """Return (detector, format, precision) → file, for every file whose name is that of an export."""
    matches = ((file, NAME.fullmatch(file.name)) for file in sorted(folder.iterdir()))
    named = [Export(**match.groupdict(), path=file) for file, match in matches if match]
    return {(item.detector, item.format, item.precision): item for item in named}


# ── files and processes ──────────────────────────────────────────────────────────────────────────────────────


def sizes(exports: Exports) -> Iterator[Row]:
    """Yield the size of each int8 file relative to the fp32 file of its format."""
    for (detector, format, precision), item in exports.items():
        exact = exports.get((detector, format, "fp32"))
        if precision == "int8" and exact is not None:
            ratio = item.size_bytes / exact.size_bytes
            yield Row(f"{item.path.name}, size / fp32", ratio, goal=SIZE, timed=False)


def processes(model: Path, threads: int) -> Iterator[Row]:
    """Yield start-up time and memory of processes that load a file and score an image, with the peer beside them.

    The peer is ``transformers.pipeline``.

    The system counts memory of the parent as memory of a process, so this must run before anything heavy is imported.
    """
    with tempfile.TemporaryDirectory() as folder:
        peer, picture = make_peer(Path(folder)), python(MAKE_PICTURE, folder)
        job = {"detector": str(model), "backend": "onnxruntime", "device": "cpu", "threads": threads}
        request = json.dumps({**job, "untrained": False, "picture": picture})
        ours = [sys.executable, "-W", "ignore", "-c", RUN_PROBE, request]
        theirs = [sys.executable, "-W", "ignore", "-c", RUN_PEER, peer, picture]
        python(RUN_PROBE, request)  # fills the disk cache
        stages = [json.loads(python(RUN_PROBE, request)) for _ in range(STARTS)]
        memory = [(measured(ours)[1], measured(theirs)[1]) for _ in range(STARTS)]
    load = statistics.median(stage["load_ms"] / 1e3 for stage in stages)
    both = statistics.median((stage["import_ms"] + stage["load_ms"]) / 1e3 for stage in stages)
    mine, other = (statistics.median(column) for column in zip(*memory, strict=True))
    name = model.name
    yield Row(f"{name}, `load()` alone, in a fresh process", load, "s", LOAD_S)
    yield Row(f"{name}, `import deepfake_core` and `load()`", both, "s")
    yield Row(f"{name}, peak resident memory once it has scored an image", mine, "MB")
    yield Row("`transformers.pipeline`, peak resident memory once it has scored an image", other, "MB")
    yield Row(f"{name}, memory / `transformers.pipeline`", mine / other, goal=MEMORY)


# ── speed ────────────────────────────────────────────────────────────────────────────────────────────────────


def speeds(detector: str, files: list[Export], counted: Path | None, threads: int, repeats: int) -> Iterator[Row]:
    """Yield the speed of every file of a detector, beside its network in torch and the peak of the machine.

    Args:
        detector: Name of the detector.
        files: Files that are timed.
        counted: ONNX file whose multiply-adds are counted.
        threads: Threads of every file.
        repeats: Turns of each file.
    """
    from deepfake_bench.cli.publish.parity import network_of
    from deepfake_bench.runner.roofline import floor_ms, gemms, multiply_adds, peaks_of
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.timing import medians_ms

    eager = network_of(detector, threads)
    shape = (1, *eager.manifest.preprocess.input_shape)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    calls: dict[str, Callable[[], object]] = {"eager": partial(eager.runtime.run, image)}
    if detector == "cvt":
        calls["transformers"] = transformers_cvt(image.shape[1])
    opened = []
    for item in files:
        try:
            calls[item.path.name] = partial(runner(item, eager, threads), image)
            opened.append(item)
        except DeepfakeError as error:
            print(f"{item.path.name} is left out: {error}", file=sys.stderr)
    chains = gemms(threads) if counted else []
    calls |= {chain.name: chain.run for chain in chains}
    ms = medians_ms(calls, repeats)
    peaks = peaks_of(chains, ms)
    floors = {precision: floor_ms(multiply_adds(counted), peak) for precision, peak in peaks.items()} if counted else {}

    in_torch = [name for name in TORCH if name in ms]
    for name in in_torch:
        yield Row(f"{detector}, {TORCH[name]}", ms[name], "ms")
    for precision, floor in floors.items():
        yield Row(f"{detector}, floor in {precision}", floor, "ms", note=f"{peaks[precision].gops:.0f} GOP/s")
    for item in opened:
        time_ms, limit = ms[item.path.name], floors.get(COMPUTES_IN.get(item.precision, "fp32"))
        note = f"{ms['eager'] / time_ms:.2f} × as fast as eager" + (f", {time_ms / limit:.2f} × floor" if limit else "")
        yield Row(item.path.name, time_ms, "ms", note=note)
    if quantised := [item.path.name for item in opened if item.precision == "int8"]:
        best = min(quantised, key=ms.__getitem__)
        for name in in_torch:
            yield Row(f"**{TORCH[name]} / {best}**", ms[name] / ms[best], goal=GAIN.get(detector))
        if "int8" in floors and detector == "siglip":
            yield Row(f"**{best} / floor in int8**", ms[best] / floors["int8"], goal=FLOORS)


def runner(item: Export, eager: LoadedDetector, threads: int) -> Callable[[NDArray[np.uint8]], object]:
    """Return a function that runs a file; the formats of torch use the number of threads of torch.

    Raises:
        DeepfakeError: The file cannot be loaded.
    """
    from deepfake_core import load
    from deepfake_exports.table import run_of

    if item.format in ("onnx", "openvino"):
        backend: Any = {"onnx": "onnxruntime"}.get(item.format, item.format)
        return load(item.path, backend=backend, device="cpu", threads=threads).runtime.run
    return run_of(item.format, item.path, eager.manifest)


def transformers_cvt(side: int) -> Callable[[], object]:
    """Return a call of CvT-13 in transformers, with random weights, on an image of ``side`` × ``side`` pixels."""
    from deepfake_core.runtimes.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import torch

    return partial(torch.inference_mode()(network("cvt").forward), torch.randn(1, 3, side, side))


# ── beside optimum ───────────────────────────────────────────────────────────────────────────────────────────


def beside_optimum(interpreter: str, exports: Exports, threads: int, repeats: int) -> Iterator[Row]:
    """Yield the speed of ONNX files of this project and of optimum for the same architecture, both in ONNX Runtime.

    Files of this project normalise inside; those of optimum are given normalised pixels. RADAR has more work than the
    encoder that it is compared with: there the time per multiply-add counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in SIDES:
            ours = {p: exports[name, "onnx", p] for p in ("fp32", "int8") if (name, "onnx", p) in exports}
            if not ours:
                continue
            command = [interpreter, "-W", "ignore", str(Path(__file__).with_name("optimum_peer.py")), folder, name]
            made = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own program
            if made.returncode:
                raise SystemExit(f"optimum could not export {name} (status {made.returncode}):\n{made.stderr}")
            for precision, item in ours.items():
                yield from _beside(name, precision, item.path, Path(folder, name), threads, repeats)


def _beside(name: str, precision: str, ours: Path, folder: Path, threads: int, repeats: int) -> Iterator[Row]:
    from deepfake_bench.runner.roofline import multiply_adds
    from deepfake_core.errors import ArtifactCorrupt
    from deepfake_core.timing import medians_ms

    theirs = {"optimum": folder / "model.onnx"}
    if precision == "int8":
        theirs = {f"optimum, {kind}": folder / kind / "model_quantized.onnx" for kind in ("dynamic", "static")}
    mine = session(ours, threads)
    image = np.random.default_rng(0).integers(0, 256, (1, *mine.get_inputs()[0].shape[1:]), np.uint8)
    pixels = image.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    calls: dict[str, Callable[[], object]] = {"ours": partial(mine.run, None, {"images": image})}
    for label, file in theirs.items():
        try:
            calls[label] = partial(session(file, threads).run, None, {"pixel_values": pixels})
        except ArtifactCorrupt as error:
            print(f"{name}: {label} is left out: {error}", file=sys.stderr)
    ms = medians_ms(calls, repeats)
    mine_ms = ms.pop("ours")
    work, unit = 1.0, ""
    if name == "radar":
        sides = {"num_channels": 3, "height": image.shape[1], "width": image.shape[2]}
        work, unit = multiply_adds(ours) / multiply_adds(folder / "model.onnx", sides), ", per multiply-add"
    for label, other_ms in ms.items():
        yield Row(f"{'ViT-S/16' if name == 'radar' else name}, {precision}, {label}", other_ms, "ms")
    if ms:
        best = min(ms, key=ms.__getitem__)
        ratio = mine_ms / ms[best] / work
        yield Row(f"**{ours.name} / {best}**{unit}", ratio, goal=NOT_SLOWER, note=f"{mine_ms:.4g} ms")


def session(path: Path, threads: int) -> Any:
    """Return a session of an ONNX file in ONNX Runtime, with the options that a detector gets."""
    from deepfake_core.runtimes.onnxruntime import open_session
    from deepfake_registry.files import sha256_file

    return open_session(path, sha256_file(path), threads=threads)


def main() -> None:
    """Print the table, line by line as it is measured."""
    parser = argparse.ArgumentParser(description="exported models beside torch, optimum and the machine")
    parser.add_argument("--models", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--optimum", metavar="PYTHON", help="Python of an environment that has optimum")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the table as JSON")
    options = parser.parse_args()
    os.environ |= OFFLINE
    exports = found(options.models)
    if not exports:
        raise SystemExit(f"{options.models}: no file DETECTOR-FORMAT-PRECISION.SUFFIX; dfbench parity makes them")
    publish(rows(exports, options), threads=options.threads, file=options.json)


def rows(exports: Exports, options: argparse.Namespace) -> Iterator[Row]:
    """Yield every line; processes come first, while this one is small."""
    if siglip := exports.get(("siglip", "onnx", "int8")):
        yield from processes(siglip.path, options.threads)
    yield from sizes(exports)
    for detector in dict.fromkeys(item.detector for item in exports.values()):
        files = [item for item in exports.values() if item.detector == detector]
        graphs = [item.path for item in files if item.format == "onnx" and item.precision in ("fp32", "int8")]
        yield from speeds(detector, files, graphs[0] if graphs else None, options.threads, options.repeats)
    if options.optimum:
        yield from beside_optimum(options.optimum, exports, options.threads, options.repeats)


if __name__ == "__main__":
    main()
