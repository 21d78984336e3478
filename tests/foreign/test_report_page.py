"""Pages in a real browser, opened from disk: nothing is cut off on narrow and wide screens, fetched, or run."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepfake_bench.records.report import (
    Curves,
    DatasetInfo,
    Estimate,
    Machine,
    Measurement,
    Report,
    SourceAccuracy,
    TargetCheck,
)
from deepfake_bench.registry import index_page
from deepfake_bench.report.html import page as report_page
from deepfake_bench.report.leaderboard import boards
from deepfake_registry.manifest import FileRef
from deepfake_registry.store.index import Entry, Index

pytestmark = pytest.mark.skipif("DEEPFAKE_FOREIGN_TESTS" not in os.environ, reason="needs a browser; tox -e foreign")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 700, 1280)
WHITE = "rgb(255, 255, 255)"
NASTY = '<script>window.ran = 1</script>"><img src=x onerror="window.ran = 1">'


@pytest.fixture
def browser() -> str:
    """A browser's program; where there is none, the test is skipped, and fails on the integration machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium; on Debian: apt-get install chromium")
    return found


def report(detectors: int) -> Report:
    """A report with long names and names that are markup."""
    curves = Curves(fpr=[0, 0.1, 1], tpr=[0, 0.8, 1], bin_p_fake=[0.1, 0.9], bin_share=[0.2, 0.8], bin_mass=[0.5, 0.5])
    source = SourceAccuracy(
        source=NASTY, real=10, fake=10, groups=20, no_face_rate=0, error_rate=0, unsure_rate=0,
        metrics={"auc": Estimate(value=0.85, low=0.8, high=0.9)}, curves=curves,
    )  # fmt: skip
    data = DatasetInfo(name=NASTY, layout="image-folder", path="x", samples=20, sha256="0" * 64)
    rows = []
    for place in range(detectors):
        common = {
            "detector": f"detector-{place}-of-a-rather-long-name-without-any-space-in-it.onnx", "weights": "trained",
            "backend": "onnxruntime", "device": "cpu", "threads": 2, "status": "measured", "others_share": 0.04 * place,
        }  # fmt: skip
        speed = {"latency_ms_p50": 5.0 * 3**place, "latency_ms_p95": 6.0 * 3**place, "response_ms_load_80_p50": 1e4}
        targets = [
            TargetCheck(
                metric="latency_ms_p50", comparison="<=", target=49, source="a-document-of-a-long-name/" * 3,
                condition="2 CPU cores", measured=9, verdict=verdict, reason="because-it-is-so " * 9,
            )
            for verdict in ("met", "missed", "not judged", "not measurable here")
        ]  # fmt: skip
        attacked = [
            source.model_copy(update={"variant": name})
            for name in ("clean", *(f"{kind}_{level}" for kind in ("random", "pgd") for level in (1, 2, 4, 8)))
        ]
        rows += [
            Measurement(**common, scenario="single_stream", metrics=speed, targets=targets),
            Measurement(**common, scenario="server", metrics={"response_ms_load_80_p50": 12345.0 * 2**place}),
            Measurement(**common, scenario="accuracy", dataset=data, sources=[source], metrics={"auc": 0.85}),
            Measurement(**common, scenario="attack", dataset=data, sources=attacked, metrics={"auc": 0.85}),
        ]
    machine = Machine(cpu=NASTY, cores=2, allowance=2, memory_mb=1, system="S", python="3.12", libraries={})
    return Report(project_version="0.1", created="2026-01-02T03:04:05+00:00", machine=machine, measurements=rows)


def index() -> Index:
    """The index of a registry with long names."""
    file = FileRef(path="model.onnx", sha256="1" * 64, size_bytes=7_000_000)
    entry = Entry(
        name="a-detector-of-a-rather-long-name-without-any-space-in-it", version="1.2.3-of-a-long-name",
        summary=NASTY, weights="trained", architecture="x", kind="image",
        license="Apache-2.0 AND LicenseRef-of-a-rather-long-name",
        aliases=("production", "candidate-of-a-long-name"), files={"safetensors": file, "openvino": file},
        manifest_sha256="0123456789abcdef" * 4, signatures=2, reports=(),
    )  # fmt: skip
    return Index(models=(entry,) * 3, problems=(NASTY,))


PAGES = {
    "a report of one detector": lambda: report_page.html([report(1)]),
    "a report of many": lambda: report_page.html([report(12)]),
    "a leaderboard": lambda: report_page.leaderboard_html(
        [*boards([report(9)]), *boards([report(9)], "latency_ms_p50")]
    ),
    "an index": lambda: index_page.html(index()),
}


@pytest.fixture
def page(tmp_path) -> Path:
    """The page of a report as the command writes it."""
    report(6).write(tmp_path / "report.json")
    command = [sys.executable, "-m", "deepfake_bench", "report", "report.json", "--html", "page.html"]
    subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path / "page.html"


def looked_at(browser: str, page: Path, scheme: str = "light") -> list[dict[str, Any]]:
    """Open a page at each width and return what became of it."""
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
        f"--user-data-dir={page.parent / 'profile'}",
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
    return found


def assert_that_nothing_is_cut_off(found: list[dict[str, Any]]) -> None:
    for item in found:
        assert item["content"] <= item["width"], "the page scrolls sideways"
        assert item["widest"] <= item["width"], "something sticks out of the page"
        assert item["clipped"] == [], "a text sticks out of its box"
        assert item["overlapping"] == [], "marks of a scale lie upon each other"


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off(browser, tmp_path, name):
    page = tmp_path / "page.html"
    page.write_text(PAGES[name](), encoding="utf-8")
    assert_that_nothing_is_cut_off(looked_at(browser, page))


@pytest.mark.parametrize(
    "style", ["overflow:hidden;white-space:nowrap", "overflow:auto;white-space:nowrap", "white-space:nowrap"]
)
def test_what_is_cut_off_is_found(browser, tmp_path, style):
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><p style="width:3rem;{style}">as long as it is</p><p>short</p>', encoding="utf-8")
    assert {text for item in looked_at(browser, page) for text in item["clipped"]} == {"as long as it is"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_fetches_nothing_and_runs_nothing(browser, page, scheme):
    found = looked_at(browser, page, scheme)
    assert_that_nothing_is_cut_off(found)
    for item in found:
        assert item["loaded"] == []
        assert item["scripts"] == 0
        assert not item["ran"]
        assert NASTY in item["text"]
        assert len(item["diagrams"]) == 1 + 3 + 6 * 2, "an attack of nine variants has two diagrams"
        assert min(item["diagrams"]) > 200
        assert len(item["colours"]) == 6
        assert max(map(int, re.findall(r"\d+", item["ground"]))) < 64 if scheme == "dark" else item["ground"] == WHITE
