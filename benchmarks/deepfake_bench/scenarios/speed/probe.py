"""A fresh process that loads a detector and scores one image, timed from inside; the scenario ``cold_start`` runs it.

It takes its request as one JSON argument and answers with one line of JSON. It imports nothing that ``predict`` does
not import.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise


def main() -> None:
    """Answer the request in ``sys.argv[1]``."""
    request = json.loads(sys.argv[1])
    marks = [time.perf_counter()]
    from deepfake_core import load

    marks.append(time.perf_counter())
    detector = load(
        request["detector"],
        backend=request["backend"],
        device=request["device"],
        threads=request["threads"],
        untrained=request["untrained"],
    )
    marks.append(time.perf_counter())
    detector.predict(request["picture"])
    marks.append(time.perf_counter())
    from deepfake_bench.scenarios.speed.memory import peak_rss_mb

    stages = dict(zip(("import_ms", "load_ms", "predict_ms"), _gaps_ms(marks), strict=True))
    sys.stdout.write(json.dumps({**stages, "peak_rss_mb": peak_rss_mb()}) + "\n")


def _gaps_ms(marks: list[float]) -> list[float]:
    return [(after - before) * 1e3 for before, after in pairwise(marks)]


if __name__ == "__main__":
    main()
