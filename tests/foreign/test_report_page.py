"""The page of ``dfbench report`` in a real browser, opened from disk: it fits, fetches nothing and runs nothing."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_bench.records.report import Curves, DatasetInfo, Estimate, Machine, Measurement, Report, SourceAccuracy

pytestmark = pytest.mark.skipif("DEEPFAKE_FOREIGN_TESTS" not in os.environ, reason="needs a browser; tox -e foreign")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1280)
WHITE = "rgb(255, 255, 255)"
NASTY = '<script>window.ran = 1</script>"><img src=x onerror="window.ran = 1">'


@pytest.fixture
def browser() -> str:
    """A browser's program; where there is none, the test is skipped, and fails on the integration machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium; on Debian: apt-get install chromium")
    return found


@pytest.fixture
def page(tmp_path) -> Path:
    """The page of a report with long names and names that are markup."""
    curves = Curves(fpr=[0, 0.1, 1], tpr=[0, 0.8, 1], bin_p_fake=[0.1, 0.9], bin_share=[0.2, 0.8], bin_mass=[0.5, 0.5])
    source = SourceAccuracy(
        source=NASTY, real=10, fake=10, groups=20, no_face_rate=0, error_rate=0, unsure_rate=0,
        metrics={"auc": Estimate(value=0.85, low=0.8, high=0.9)}, curves=curves,
    )  # fmt: skip
    data = DatasetInfo(name=NASTY, layout="image-folder", path="x", samples=20, sha256="0" * 64)
    rows = []
    for place in range(6):
        common = {
            "detector": f"detector-{place}-of-a-rather-long-name-without-any-space-in-it.onnx", "weights": "trained",
            "backend": "onnxruntime", "device": "cpu", "threads": 2, "status": "measured",
        }  # fmt: skip
        speed = {"latency_ms_p50": 5.0 * 2**place, "latency_ms_p95": 6.0 * 2**place}
        rows += [
            Measurement(**common, scenario="single_stream", metrics=speed),
            Measurement(**common, scenario="accuracy", dataset=data, sources=[source], metrics={"auc": 0.85}),
        ]
    machine = Machine(cpu=NASTY, cores=2, allowance=2, memory_mb=1, system="S", python="3.12", libraries={})
    report = Report(project_version="0.1", created="2026-01-02T03:04:05+00:00", machine=machine, measurements=rows)
    report.write(tmp_path / "report.json")
    command = [sys.executable, "-m", "deepfake_bench", "report", "report.json", "--html", "page.html"]
    subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path / "page.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_fetches_nothing_and_runs_nothing(browser, page, tmp_path, scheme):
    measure = Path(__file__).parent / "browser" / "measure.html"
    url = f"{measure.as_uri()}#{','.join([page.as_uri(), *map(str, WIDTHS)])}"
    command = [
        browser,
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--allow-file-access-from-files",  # so that the measuring page may look into its frames
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1400,1000",
        "--virtual-time-budget=10000",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # it refuses to run as root with one
        *(["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []),
        "--dump-dom",
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert answer, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(html.unescape(answer[1]))
    assert [item["width"] for item in found] == list(WIDTHS)
    for item in found:
        assert item["content"] <= item["width"], "the page scrolls sideways"
        assert item["widest"] <= item["width"], "something sticks out of the page"
        assert item["loaded"] == []
        assert item["scripts"] == 0
        assert not item["ran"]
        assert NASTY in item["text"]
        assert len(item["diagrams"]) == 1 + 3
        assert min(item["diagrams"]) > 200
        assert len(item["colours"]) == 6
        assert max(map(int, re.findall(r"\d+", item["ground"]))) < 64 if scheme == "dark" else item["ground"] == WHITE
