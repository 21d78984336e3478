"""Damage small pictures or videos at random and judge them: only results, no crash, no hang, no memory without limit.

    python benchmarks/reliability/mutate.py --kind pictures --count 100000 --out pictures.jsonl
    python benchmarks/reliability/mutate.py --summary pictures.jsonl videos.jsonl

A worker process judges one input after the other with ``lite`` on ONNX Runtime, under a limit on its address space. The
parent ends it when it gives no answer. A slow answer, and everything but a result, or an ``InputError``, is a
failure, whose input is kept in a folder beside the file of counts. The file has a line for each block of inputs; a run
that is started again continues behind its last line. The same seed and number give the same input with the same
versions of the libraries.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import mutations
import samples

TIME_LIMIT_S = 10.0
"""Limit on the processor time of one input."""
HANG_LIMIT_S = 60.0
"""Limit on the time to wait for an answer, on a machine that may be busy."""
MEMORY_LIMIT_MB = 3000
"""Limit on the address space of a worker, beyond what it has taken for an unharmed picture."""
START_LIMIT_S = 120.0
BLOCK = 500
"""Number of inputs of one line of counts."""
VERDICTS = ("real", "fake", "unsure", "no_face", "error")


class Outcome(NamedTuple):
    """What became of one input.

    Attributes:
        number: Number of the input.
        sample: Name of the sample that was damaged.
        verdict: Verdict, ``InputError``, or ``failure``.
        detail: Reason of an error or a failure.
        seconds: Processor time that it took, in s; of a process that gave no answer, the time that passed.
    """

    number: int
    sample: str
    verdict: str
    detail: str
    seconds: float


def kinds() -> Mapping[str, Any]:
    """Return the makers of samples, by the name of their kind."""
    return {"pictures": samples.pictures, "videos": samples.videos}


def judge(detector: Any, data: bytes) -> tuple[str, str]:
    """Return verdict and detail of one input; what is neither a result nor an ``InputError`` is a failure."""
    from deepfake_core.errors import InputError

    try:
        result = detector.predict(data)
        json.dumps(result.to_dict())
    except InputError as error:
        return "InputError", str(error)
    except Exception as error:  # noqa: BLE001 - to be reported, whatever it is
        return "failure", f"{type(error).__module__}.{type(error).__name__}: {error}"
    scored = result.verdict in ("real", "fake", "unsure")
    if (
        result.verdict not in VERDICTS
        or scored != (result.p_fake is not None)
        or (result.verdict == "error") != bool(result.error)
    ):
        return "failure", f"a result that contradicts itself: {result.verdict}, {result.p_fake}, {result.error}"
    if scored and not 0 <= result.p_fake <= 1:
        return "failure", f"p_fake {result.p_fake}"
    return result.verdict, result.error


def work(connection: Connection, kind: str, seed: int) -> None:
    """Judge the inputs whose numbers arrive, and send what became of each; runs in a process of its own."""
    import deepfake_core

    with contextlib.suppress(OSError):  # decoders write to it directly, once for each damaged file
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    unharmed = kinds()[kind]()
    detector = deepfake_core.load("lite", backend="onnxruntime", device="cpu")
    for name, data in unharmed.items():
        verdict, detail = judge(detector, data)
        if verdict not in VERDICTS[:3]:
            connection.send(f"the unharmed {name} is not judged: {verdict} {detail}")
            return
    taken = int(re.findall(r"VmSize:\s*(\d+)", Path("/proc/self/status").read_text())[0]) * 1024
    limit = taken + MEMORY_LIMIT_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    connection.send("ready")
    while (index := connection.recv()) is not None:
        name, data = mutations.mutated(unharmed, seed, index)
        start = time.process_time()
        verdict, detail = judge(detector, data)
        seconds = time.process_time() - start
        if seconds > TIME_LIMIT_S:
            verdict, detail = "failure", f"{verdict} after more than {TIME_LIMIT_S:g} s of processor time"
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        connection.send((Outcome(index, name, verdict, detail, seconds), peak_mb))


class Worker:
    """A process that judges, and its connection."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed, self.peak_mb = kind, seed, 0
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, kind, seed), daemon=True)
        self.process.start()
        theirs.close()
        try:
            said = self.connection.recv() if self.connection.poll(START_LIMIT_S) else "it does not start"
        except EOFError:
            said = "it does not start"
        if said != "ready":
            self.end()
            raise SystemExit(f"the worker cannot judge: {said}")

    def judge(self, index: int) -> Outcome:
        """Return what became of one input; where that is a hang or a crash, this process has ended."""
        start = time.perf_counter()
        try:
            self.connection.send(index)
            if self.connection.poll(HANG_LIMIT_S):
                outcome, self.peak_mb = self.connection.recv()
                return Outcome(*outcome)
            detail = f"no answer within {HANG_LIMIT_S:g} s"
        except (EOFError, OSError):
            self.process.join(HANG_LIMIT_S)
            detail = f"the process ended with status {self.process.exitcode}"
        self.end()
        name = sorted(kinds()[self.kind]())[index % len(kinds()[self.kind]())]
        return Outcome(index, name, "failure", detail, time.perf_counter() - start)

    @property
    def ended(self) -> bool:
        """Whether the process was ended, or ended by itself."""
        return not self.process.is_alive()

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def shape(detail: str) -> str:
    """Return a message without what differs from one input to the next."""
    return re.sub(r"\s+", " ", re.sub(r"[-+]?(0x)?\d[\d.,]*", "N", detail))[:120]


def blocks(kind: str, seed: int, numbers: Iterator[range]) -> Iterator[tuple[dict[str, Any], list[Outcome]]]:
    """Yield the counts of each block of inputs, and its failures."""
    worker = Worker(kind, seed)
    try:
        for block in numbers:
            start, found, peak_mb = time.perf_counter(), [], 0
            for index in block:
                if worker.ended:
                    worker = Worker(kind, seed)
                found.append(worker.judge(index))
                peak_mb = max(peak_mb, worker.peak_mb)
            counts = {
                "kind": kind,
                "seed": seed,
                "from": block.start,
                "to": block.stop,
                "verdicts": Counter(outcome.verdict for outcome in found),
                "errors": Counter(shape(outcome.detail) for outcome in found if outcome.detail),
                "samples": Counter(outcome.sample for outcome in found),
                "slowest_s": round(max(outcome.seconds for outcome in found), 3),
                "peak_memory_mb": peak_mb,
                "seconds": round(time.perf_counter() - start, 1),
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(),
            }
            yield counts, [outcome for outcome in found if outcome.verdict == "failure"]
    finally:
        worker.end()


def versions() -> dict[str, str]:
    """Return the versions of what decodes and judges."""
    names = ("deepfake-core", "deepfake-lite", "pillow", "av", "onnxruntime", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def run(kind: str, seed: int, count: int, out: Path) -> int:
    """Judge what is missing to ``count`` inputs, and append the counts to ``out``; return the number of failures."""
    done = [line["to"] for line in read(out) if (line["kind"], line["seed"]) == (kind, seed)]
    first = max(done, default=0)
    numbers = (range(start, min(start + BLOCK, count)) for start in range(first, count, BLOCK))
    failures = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    for counts, failed in blocks(kind, seed, numbers):
        for outcome in failed:
            failures += 1
            folder = out.parent / f"{out.stem}-failures"
            folder.mkdir(parents=True, exist_ok=True)
            name, data = mutations.mutated(kinds()[kind](), seed, outcome.number)
            (folder / f"{seed}-{outcome.number}-{name}").write_bytes(data)
            print(f"failure: input {outcome.number} of seed {seed} ({name}): {outcome.detail}", flush=True)
        counts["failures"] = [[outcome.number, outcome.sample, outcome.detail] for outcome in failed]
        with out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(counts) + "\n")
    return failures


def read(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of counts; a last line that was cut off is left out."""
    if not out.exists():
        return []
    lines = out.read_text(encoding="utf-8").splitlines()
    with contextlib.suppress(json.JSONDecodeError):
        return [json.loads(line) for line in lines]
    return [json.loads(line) for line in lines[:-1]]


def summary(files: list[Path]) -> str:
    """Return the counts of files as a table, and their most frequent errors."""
    rows = [
        "| kind | inputs | " + " | ".join((*VERDICTS, "InputError")) + " | failures | slowest | peak memory |",
        "|" + "---|" * (len(VERDICTS) + 6),
    ]
    errors: Counter[str] = Counter()
    lines = [line for file in files for line in read(file)]
    for kind in dict.fromkeys(line["kind"] for line in lines):
        mine = [line for line in lines if line["kind"] == kind]
        verdicts = sum((Counter(line["verdicts"]) for line in mine), Counter())
        errors += sum((Counter(line["errors"]) for line in mine), Counter())
        cells = [kind, f"{verdicts.total():,}"]
        cells += [f"{verdicts[name]:,}" for name in (*VERDICTS, "InputError", "failure")]
        cells += [f"{max(line['slowest_s'] for line in mine):.1f} s"]
        cells += [f"{max(line['peak_memory_mb'] for line in mine)} MB"]
        rows.append(f"| {' | '.join(cells)} |")
    dates = sorted(line["when"][:10] for line in lines)
    said = sorted({json.dumps(line["versions"]) for line in lines})
    rows += ["", f"{dates[0]} to {dates[-1]}", *said, "", *(f"{n:>8,}  {text}" for text, n in errors.most_common(25))]
    return "\n".join(rows)


def main() -> int:
    """Parse the command line, and do what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("pictures", "videos"), default="pictures")
    parser.add_argument("--count", type=int, default=1000, help="inputs of this seed, together with earlier runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mutated.jsonl"), help="file that counts are appended to")
    parser.add_argument("--summary", type=Path, nargs="+", metavar="FILE", help="print the counts of files, and end")
    chosen = parser.parse_args()
    if chosen.summary:
        print(summary(chosen.summary))
        return 0
    return 1 if run(chosen.kind, chosen.seed, chosen.count, chosen.out) else 0


if __name__ == "__main__":
    sys.exit(main())
