"""Whether ``dfbench compare`` finds a detector that was slowed on purpose, and nothing else, on this machine.

Run from the repository root on an idle machine, with the detectors in question installed::

    python benchmarks/suite/caught.py --slowed lite --slowed unet --other radar --repeat 20 --out caught

This environment is measured in turns with itself, where every inference of the slowed detectors takes a tenth longer:
after each one, the process waits actively. Figures that do not depend on the network alone (the way from a file,
memory) may or may not change; the time of the network has to change, and no figure of other detectors may.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepfake_core.handle.loaded import LoadedDetector

NETWORK_ALONE = ("latency_ms_p50", "images_per_s")
"""Figures that depend on the network alone."""


def slowed(call: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """Return the same call, which takes ``factor`` times as long."""

    def slow(*arguments: Any) -> Any:
        start = time.perf_counter()
        answer = call(*arguments)
        end = start + factor * (time.perf_counter() - start)
        while time.perf_counter() < end:
            pass
        return answer

    return slow


def as_python(factor: float, names: list[str], arguments: list[str]) -> None:
    """Run ``-m MODULE …`` or ``-c CODE`` as Python does, with slowed detectors."""
    make = LoadedDetector.__init__

    def making(self: LoadedDetector, spec: Any, runtime: Any, **options: Any) -> None:
        make(self, spec, runtime, **options)
        if runtime.manifest.name in names:
            runtime.run = slowed(runtime.run, factor)

    LoadedDetector.__init__ = making  # type: ignore[method-assign]
    how, what, *rest = arguments
    sys.argv = [what, *rest]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})  # noqa: S102 - what the launcher asks of any Python


def main() -> None:
    """Measure, compare, and print the verdicts; the exit status is 1 where one is not as expected."""
    parser = argparse.ArgumentParser(description="whether a slowed detector is found, and nothing else")
    parser.add_argument("--slowed", action="append", default=[], help="detector that is slowed; may be repeated")
    parser.add_argument("--other", action="append", default=[], help="detector that is left alone; may be repeated")
    parser.add_argument("--factor", type=float, default=1.1)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("caught"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    python = options.out.resolve() / "python"
    names = json.dumps(options.slowed)
    python.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from caught import as_python\nas_python({options.factor!r}, {names}, sys.argv[1:])\n"
    )
    python.chmod(0o755)
    run = ["run", "--device", "cpu", "--scenario", "single_stream", "--scenario", "offline", "--resume"]
    run += ["--repeat", str(options.repeat), "--seconds", str(options.seconds), "--beside", str(python)]
    run += [word for name in (*options.slowed, *options.other) for word in ("--detector", name)]
    subprocess.run([sys.executable, "-m", "deepfake_bench", *run, "--out", str(options.out)], check=True)  # noqa: S603
    # The slowed environment is the one beside; it is what a change to the worse would look like.
    pair = [str(options.out / name) for name in ("report.json", "beside.json")]
    compare = [sys.executable, "-m", "deepfake_bench", "compare", *pair, "--all"]
    subprocess.run(compare, check=False)  # noqa: S603 - shows the table; its status is that of a gate
    done = subprocess.run([*compare, "--format", "json"], check=False, capture_output=True)  # noqa: S603
    verdicts: dict[str, Counter[str]] = {
        "slowed, the network alone": Counter(),
        "slowed, the rest": Counter(),
        "left alone": Counter(),
    }
    for item in json.loads(done.stdout):
        kind = "left alone"
        if item["detector"] in options.slowed:
            kind = "slowed, the network alone" if item["metric"] in NETWORK_ALONE else "slowed, the rest"
        verdicts[kind][item["verdict"]] += 1
    for kind, counts in verdicts.items():
        print(f"caught: {kind}: {', '.join(f'{count} {name}' for name, count in counts.items()) or 'none'}")
    wrong = verdicts["left alone"].keys() - {"no change"}
    missed = verdicts["slowed, the network alone"].keys() - {"slower"}
    raise SystemExit(1 if wrong or missed else 0)


if __name__ == "__main__":
    main()
