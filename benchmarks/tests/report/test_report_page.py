"""``dfbench report``: one page and one CSV file; old reports read, strange ones are refused, names stay text."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.report import Curves, Report, TargetCheck, parse_report, schema
from deepfake_bench.report.csv_export import CSV_COLUMNS, csv_text
from deepfake_bench.report.figures import direction
from deepfake_bench.report.html import diagrams
from deepfake_bench.report.html import page as report_page
from deepfake_bench.report.html.entries import labelled
from deepfake_bench.report.html.svg import linear, logarithmic, normal_deviates
from deepfake_bench.scenarios.measures import source_accuracy, thinned
from deepfake_bench.scenarios.variants import FULL, QUICK
from deepfake_core.datasets import Sample
from deepfake_core.errors import DeepfakeError
from deepfake_core.evaluation import metrics
from deepfake_core.handle.results import Result

NASTY = '<script>alert(1)</script>"><img src=x onerror=alert(2)>\x1b[31m'
CURVES = Curves(fpr=[0, 0.2, 1], tpr=[0, 0.7, 1], bin_p_fake=[0.2, 0.8], bin_share=[0.1, 0.9], bin_mass=[0.5, 0.5])


def target(metric: str, verdict: str, reason: str = "") -> TargetCheck:
    return TargetCheck(
        metric=metric, comparison="<=", target=12, source="the paper", condition="2 CPU cores", measured=9.5,
        verdict=verdict, reason=reason,
    )  # fmt: skip


@pytest.fixture
def full(measured, judged, report_of):
    """A report with something in every section, and names that are markup."""
    speed = {"latency_ms_p50": 9.5, "latency_ms_p95": 12.0, "predict_ms_p50": 30.0, "predict_ms_p95": 31.0}
    accuracy = judged({NASTY: (0.8, 0.02), "second": (0.9, 0.02)}, data=NASTY)
    sources = [source.model_copy(update={"curves": CURVES}) for source in accuracy.sources]
    changed = [source.model_copy(update={"variant": name}) for name in QUICK for source in accuracy.sources]
    untrained = judged({"one": (0.4321, 0.02)}, detector="new", weights="untrained")
    return report_of(
        measured(metrics=speed, targets=[target("latency_ms_p50", "met"), target("predict_ms_p50", "missed")]),
        measured("cold_start", metrics={"total_ms_p50": 700.0, "total_ms_p95": 710.0}, conditions={"total_ms": NASTY}),
        measured("offline", metrics={"images_per_s": 120.0}),
        accuracy.model_copy(update={"sources": sources}),
        accuracy.model_copy(update={"scenario": "robustness", "sources": changed}),
        measured(detector="new", weights="untrained", metrics={"latency_ms_p50": 50.0}),
        untrained,
        measured(detector="/home/someone/gone.onnx", status="failed", reason=NASTY,
                 targets=[target("auc", "not measurable here", NASTY)]),
        cpu=NASTY,
    )  # fmt: skip


class Page(HTMLParser):
    """Elements, attributes and text of a page; what is left open is an error."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_what_one_report_judges_does_not_stand_unjudged_for_another(measured, report_of):
    judged = report_of(measured(targets=[target("latency_ms_p50", "met")]))
    left_out = report_of(measured(targets=[target("latency_ms_p50", "not measurable here", "left out")]))
    for reports in ([judged, left_out], [left_out, judged]):
        page = report_page.html(reports)
        assert "<b>1</b> met" in page
        assert "<b>0</b> not measurable here" in page
    assert "<b>1</b> not measurable here" in report_page.html([left_out, left_out])


def test_every_section_is_on_the_page(full):
    page = Page(report_page.html([full]))
    for words in (
        "Documented targets", "1 met", "1 missed", "1 not measurable here", "the paper (2 CPU cores)", "9.5 ms",
        "p95 12", "120 pictures a second", "mean over sources", "0.850 [0.836, 0.864]", "ROC", "DET", "Reliability",
        "AUC 0.800", "Accuracy and latency", "Robustness", "Not measured", "numpy 2.4", "gone.onnx", "2 threads",
    ):  # fmt: skip
        assert words in page.text, words
    assert "/home/someone" not in page.text
    assert "/secret/place" not in page.text


def test_names_that_are_markup_stay_text(full):
    html = report_page.html([full])
    page = Page(html)
    assert not page.names & {"script", "img", "link", "iframe", "object", "base", "form"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in html


def test_the_page_asks_for_nothing_and_may_run_nothing(full):
    html = report_page.html([full])
    page = Page(html)
    assert not re.search(r"https?:|//\w|url\(|@import|data:", html)
    assert not {name for name, _ in page.attributes} & {"src", "href", "srcset", "xlink:href", "id"}
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_untrained_weights_are_stamped_and_have_no_accuracy(full):
    html = report_page.html([full])
    assert 'new <span class="stamp">untrained</span>' in html
    assert "0.432" not in html
    assert "0.4321" not in csv_text([full])


def test_a_report_without_curves_still_reads_and_says_what_is_missing(full):
    old = json.loads(full.model_dump_json())
    for row in old["measurements"]:
        for source in row["sources"]:
            del source["curves"]
    report = parse_report(json.dumps(old).encode(), "old.json")
    if find_spec("jsonschema"):
        import_module("jsonschema").validate(old, schema())
    assert report.measurements[3].sources[0].curves is None
    text = Page(report_page.html([report])).text
    assert "holds no curves" in text
    assert "0.850 [0.836, 0.864]" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "another schema version than 1; upgrade deepfake-core"),
        ({"colour": "red"}, "unknown field colour; upgrade deepfake-core"),
        ({"created": None}, r"not a benchmark report \(created: "),
    ],
)
def test_a_report_that_cannot_be_read_names_the_file_and_the_field(full, change, said):
    data = json.dumps(json.loads(full.model_dump_json()) | change).encode()
    with pytest.raises(DeepfakeError, match=f"strange.json: .*{said}"):
        parse_report(data, "strange.json")


def test_curves_of_unequal_lists_are_refused(full):
    data = full.model_dump_json().replace('"fpr":[0.0,0.2,1.0]', '"fpr":[0.0,1.0]')
    with pytest.raises(DeepfakeError, match=r"curves: .*equally long"):
        parse_report(data.encode(), "cut.json")


def test_csv_has_a_row_for_each_metric(full):
    rows = list(csv.DictReader(io.StringIO(csv_text([full, full]))))
    assert tuple(rows[0]) == CSV_COLUMNS
    one = [row for row in rows if row["scenario"] == "accuracy" and row["source"] == "second"]
    assert len(one) == 2
    assert [float(one[0][name]) for name in ("value", "low", "high")] == pytest.approx([0.9, 0.88, 0.92])
    assert {row["metric"] for row in rows if row["scenario"] == "cold_start"} == {"total_ms_p50", "total_ms_p95"}
    assert sum(row["variant"] == "jpeg_30" for row in rows) == 4
    assert NASTY in {row["dataset"] for row in rows}


def test_the_command_writes_what_is_asked_for(full, tmp_path):
    full.write(tmp_path / "report.json")
    files = {name: str(tmp_path / f"report.{name}") for name in ("html", "csv")}
    options = [part for name, file in files.items() for part in (f"--{name}", file)]
    done = CliRunner().invoke(app, ["report", str(tmp_path / "report.json"), *options])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "report.html").read_text("utf-8") == report_page.html([full])
    assert (tmp_path / "report.csv").read_text("utf-8") == csv_text([full])
    shown = CliRunner().invoke(app, ["report", str(tmp_path / "report.json")])
    assert "documented targets" in shown.stdout
    gone = CliRunner().invoke(app, ["report", str(tmp_path / "gone.json")])
    assert gone.exit_code == 2
    assert "gone.json: no such file" in gone.stderr


def test_a_run_writes_the_page_with_curves_of_its_own(tiny, tmp_path):
    files = {name: str(tmp_path / f"report.{name}") for name in ("json", "html", "csv")}
    options = [part for name, file in files.items() for part in (f"--{name}", file)]
    arguments = ["run", "--detector", tiny, "--scenario", "accuracy", *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = Report.model_validate_json((tmp_path / "report.json").read_bytes())
    assert report.measurements[0].sources[0].curves is not None
    assert "Reliability" in (tmp_path / "report.html").read_text("utf-8")
    assert "accuracy" in (tmp_path / "report.csv").read_text("utf-8")


def test_reports_of_several_machines_name_them(measured, report_of):
    reports = [report_of(measured(metrics={"latency_ms_p50": 9.0}), cpu=name) for name in ("CPU one", "CPU two")]
    text = Page(report_page.html(reports)).text
    assert "lite (machine 1)" in text
    assert "lite (machine 2)" in text
    assert "CPU two" in text
    assert "Measured on: onnxruntime, cpu, 2 threads." in text


def test_versions_and_reports_are_told_apart(measured, report_of):
    def labels(*versions: str) -> list[str]:
        reports = [report_of(measured(version=version, metrics={"latency_ms_p50": 9.0})) for version in versions]
        entries, shared = labelled(reports)
        assert shared == "onnxruntime, cpu, 2 threads"
        return [entry.label for entry in entries]

    assert labels("1") == ["lite"]
    assert labels("1", "2") == ["lite (version 1)", "lite (version 2)"]
    assert labels("1", "1") == ["lite, report 1", "lite, report 2"]


def test_a_report_of_nothing_is_still_a_page(report_of):
    assert "0 measurements" in Page(report_page.html([report_of()])).text


def test_own_data_come_before_the_plumbing_check_and_untrained_detectors_last(measured, judged, report_of):
    rows = [
        measured(detector="new", weights="untrained", metrics={"latency_ms_p50": 1.0}),
        measured(detector="lite", metrics={"latency_ms_p50": 9.0}),
        judged({"one": (0.8, 0.02)}, data="plumbing-check", sha256="b" * 64),
        judged({"one": (0.7, 0.02)}, data="own"),
    ]
    text = Page(report_page.html([report_of(*rows)])).text
    speed = text[text.index("Network alone") : text.index("On own")]
    assert speed.index("lite") < speed.index("new")
    assert text.index("On own") < text.index("On plumbing-check")


def test_speed_is_on_a_logarithmic_scale(measured, report_of):
    times = {"one": 10.0, "two": 100.0, "three": 1000.0}
    rows = [
        measured(detector=name, metrics={"latency_ms_p50": ms, "latency_ms_p95": 1.1 * ms})
        for name, ms in times.items()
    ]
    rows.append(measured(detector="broken", metrics={"latency_ms_p50": 0.0}))
    html = report_page.html([report_of(*rows)])
    lefts = [float(left) for left in re.findall(r'class="dot" style="left:([\d.]+)%', html)]
    assert len(lefts) == 3, "a time of 0 has no place on it"
    assert lefts[1] - lefts[0] == pytest.approx(lefts[2] - lefts[1], abs=0.02)
    assert "Logarithmic scales" in html


def test_a_busy_machine_is_told_on_the_page_and_in_the_csv(measured, report_of):
    busy = measured(metrics={"latency_ms_p50": 9.0}, others_share=0.234, targets=[
        target("latency_ms_p50", "not judged", "other work used 23 % of the processors"),
    ])  # fmt: skip
    idle = measured(detector="other", metrics={"latency_ms_p50": 9.0}, others_share=0.012)
    text = Page(report_page.html([report_of(busy, idle)])).text
    assert "Other work used 23 % of the processors during 1 of 2 measurements of time" in text
    assert "1 not judged" in text
    assert "not judged: other work used 23 % of the processors" in text
    assert "target ≤ 12: not judged · other work 23\N{NO-BREAK SPACE}%" in text
    assert "other work used 1.2% of the processors" in text
    rows = csv.DictReader(io.StringIO(csv_text([report_of(busy, idle, measured(metrics={"auc": 0.5}))])))
    assert [row["others_share"] for row in rows] == ["0.2340", "0.0120", ""]


def test_a_report_that_does_not_know_of_other_work_says_so(measured, report_of):
    old = json.loads(report_of(measured(metrics={"latency_ms_p50": 9.0})).model_dump_json())
    del old["measurements"][0]["others_share"]
    page = report_page.html([parse_report(json.dumps(old).encode(), "old.json")])
    assert "Other work on the processors was not measured" in page


# ── what the diagrams are made of ────────────────────────────────────────────────────────────────────────────


def results(fake, p_fake):
    for place, (label, score) in enumerate(zip(fake, p_fake, strict=True)):
        sample = Sample(path=f"{place}.png", is_fake=bool(label), source="one", group=str(place))
        yield sample, Result(sample.name, "fake", float(score), faces=(), detector="x", weights="trained")


def test_a_source_keeps_its_curves():
    rng = np.random.default_rng(0)
    fake = np.arange(60) % 2
    p_fake = np.clip(0.5 + 0.2 * (fake - 0.5) + 0.2 * rng.normal(size=60), 0, 1)
    curves = source_accuracy("one", list(results(fake, p_fake)), 0.5).curves
    assert np.trapezoid(curves.tpr, curves.fpr) == pytest.approx(metrics.roc_auc(fake, p_fake), abs=1e-5)
    gaps = np.abs(np.subtract(curves.bin_p_fake, curves.bin_share))
    assert np.dot(curves.bin_mass, gaps) == pytest.approx(metrics.ece(fake, p_fake), abs=1e-5)
    assert source_accuracy("one", list(results(fake * 0, p_fake)), 0.5).curves is None
    assert source_accuracy("one", list(results(fake, p_fake)), 0.5, only=("auc",)).curves is None


def test_a_long_curve_is_thinned_and_looks_the_same():
    rng = np.random.default_rng(0)
    fake = rng.integers(2, size=20_000)
    fpr, tpr = metrics.roc_curve(fake, fake + rng.normal(size=20_000))
    few = thinned(fpr, tpr)
    assert len(few[0]) < 600
    assert (few[0][0], few[1][0], few[0][-1], few[1][-1]) == (0, 0, 1, 1)
    assert np.abs(np.interp(fpr, *few) - tpr).max() < 0.02
    assert np.trapezoid(few[1], few[0]) == pytest.approx(np.trapezoid(tpr, fpr), abs=0.002)


def test_axes_have_few_round_marks():
    assert [text for _, text in linear("x", 0.0, 1.0).ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    axis = logarithmic("ms", 4.9, 260.0)
    assert (axis.low, axis.high) == (2, 500)
    assert axis.share(axis.low) == 0
    assert axis.share(1e9) == 1
    assert axis.share(10**0.5 * 10) == pytest.approx(axis.share(10) / 2 + axis.share(100) / 2)
    assert normal_deviates("x").share(0.5) == pytest.approx(0.5)
    for high in (0.013, 7.0, 123456.0):
        assert 3 <= len(linear("x", 0.0, high).ticks) <= 7


@pytest.mark.parametrize(
    ("metric", "sign"),
    [("auc", 1), ("eer", -1), ("latency_ms_p50", -1), ("images_per_s", 1), ("best_batch", 0), ("file_mb", -1)],
)
def test_which_way_is_better(metric, sign):
    assert direction(metric) == sign


def test_many_variants_get_a_diagram_for_each_family(full):
    (row,) = [row for row in full.measurements if row.scenario == "robustness"]
    first = row.sources[:1]
    every = [first[0].model_copy(update={"variant": name}) for name in FULL]
    (entry,), _ = labelled([full.model_copy(update={"measurements": [row.model_copy(update={"sources": every})]})])
    titles = re.findall(r"<figcaption>[^<]*: ([^<:]*)</figcaption>", diagrams.robustness(entry))
    resized = [f"resized by {kernel}" for kernel in ("nearest", "bilinear", "bicubic", "lanczos")]
    assert sorted(titles) == sorted(["JPEG", "WebP", "AVIF", "blur σ", "noise σ", "on its way", *resized])
    assert [diagrams._strength(name) for name in ("jpeg_100", "blur_0.5", "resize_64_bicubic", "hard")] == [
        (0, -100), (0, 0.5), (0, -64), (1, 0.0)
    ]  # fmt: skip
