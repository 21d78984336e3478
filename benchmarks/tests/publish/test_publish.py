"""The pages show what the committed results hold, and the command that makes both leaves nothing half done."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import deepfake_core as df
import publish
import publish_steps
import published
import published_cards
import published_gpu
import published_strengths
from deepfake_bench.card import blocks, card, marks
from deepfake_bench.card.findings import Findings
from deepfake_bench.cli import app
from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import Machine, Measurement, Report, parse_report
from deepfake_bench.records.targets import check_targets
from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError
from deepfake_registry.provenance import read_terms

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "plugins").glob("*/README.md"))]
MACHINE = Machine(cpu="CPU", cores=4, allowance=2, memory_mb=1, system="S", python="3.11", libraries={"numpy": "2"})
INTERVAL = re.compile(r"\d\.\d+ \[[-+]?\d\.\d+, [-+]?\d\.\d+\]")
MEASURED_CELL = re.compile(r"\**\d[\d.]* (?:ms|MB)\b")
FOLDER = re.compile(r"(?<![\w.])/(?:[\w.-]+/)+")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own for the script: a page, and a folder of results."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("Prose.\n\n<!-- results: peers -->\nold\n<!-- /results -->\n\nMore.\n")
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish_steps, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "RESULTS", tmp_path / "results")
    return tmp_path


# ── what is committed ────────────────────────────────────────────────────────────────────────────────────────


def test_the_pages_show_what_the_committed_results_hold():
    made = published.contents(RESULTS)
    marked = {name: page for page in published.pages(ROOT) for name in marks.marked(page, "results", published.BLOCKS)}
    assert marked.keys() == published.BLOCKS.keys()
    for page in set(marked.values()):
        text = page.read_text(encoding="utf-8")
        assert marks.filled(text, "results", made) == text, f"{page}: run: python benchmarks/publish.py --pages"


def test_every_documented_number_has_a_verdict():  # C-5
    shown = published.targets(RESULTS)
    for name, item in plugins.detectors().items():
        for target in item.spec.targets:
            sign = {"<=": "≤", ">=": "≥"}[target.comparison]
            said = f"{target.source}: {target.note}" if target.note else target.source
            assert f"| `{name}` | `{target.metric}` {sign} {target.value:.8g} | {said}" in shown


def test_the_card_shows_what_its_committed_report_holds():
    file = RESULTS / "card.json"
    from deepfake_core import load

    plugin = ROOT / "plugins" / "deepfake-lite"
    terms = read_terms(plugin / "provenance.toml")
    found = Findings(load("lite").manifest, parse_report(file.read_bytes(), file), None, (), terms)
    made = {name: block(found) for name, block in blocks.BLOCKS.items() if name != "calibration"}  # made of all scores
    text = (plugin / "README.md").read_text(encoding="utf-8")
    assert marks.filled(text, card.KIND, made) == text


def test_the_cards_show_what_the_packaged_weights_keep():
    cards = dict(published_cards.filled_cards(ROOT))
    assert next(iter(cards)) == ROOT / "plugins" / "deepfake-lite" / "README.md"
    for page, text in cards.items():
        assert page.read_text(encoding="utf-8") == text, f"{page}: run: python benchmarks/publish.py --pages"


def test_each_detector_with_a_card_has_a_step_that_fills_it(tmp_path):
    given = publish_steps.Inputs("evaluation=data", cache=tmp_path)
    for name in published_cards.carded(ROOT):
        item = publish_steps.STEPS["card" if name == "lite" else f"card-{name}"]
        (command,) = item.commands(given, tmp_path)
        assert command[command.index("card") + 1] == name
        assert str(ROOT / "plugins" / f"deepfake-{name}" / "README.md") in command
        assert "--trained-on" not in command


@pytest.mark.torch
def test_the_table_of_exports_is_made_from_its_committed_cells():
    from deepfake_exports.table import Table

    assert (ROOT / "exports" / "PARITY.md").read_text(encoding="utf-8") == Table.read(ROOT / "exports").markdown()


def test_measured_figures_lie_between_marks():
    """A line is measured where it holds an interval, a table also where a cell is a figure in ms or MB and its note."""
    for page in PAGES:
        if page.name == "reliability.md":  # counts of runs that lasted hours, which no step of publishing repeats
            continue
        text = page.read_text(encoding="utf-8")
        outside = re.sub(r"<!-- (card|results): \S+ -->.*?<!-- /\1 -->", "", text, flags=re.DOTALL)
        measured = [
            line
            for line in outside.splitlines()
            if INTERVAL.search(line)
            or (line.startswith("|") and any(MEASURED_CELL.match(cell.strip()) for cell in line.split("|")))
        ]
        assert not measured, f"{page}: figures of no result: {measured[0]}"


def test_committed_results_name_no_folder_of_a_machine():
    files = sorted(RESULTS.glob("*.json"))
    assert files
    for file in files:
        assert not FOLDER.findall(file.read_text(encoding="utf-8")), file


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def results(tmp_path, measured, judged):
    """A folder of results of two detectors."""
    folder = tmp_path / "made"
    folder.mkdir()
    target = {"metric": "latency_ms_p50", "comparison": "<=", "target": 12, "source": "lite", "condition": ""}
    auc = {"metric": "auc", "comparison": ">=", "target": 0.9, "source": "lite", "condition": "dataset: evaluation"}
    unseen = {**auc, "verdict": "not measurable here", "reason": "stated for the dataset evaluation; measured on x"}
    rows = [
        measured(metrics={"latency_ms_p50": 3.25, "predict_ms_p50": 26.5, "peak_rss_mb": 191.8}, targets=[
            {**target, "note": "forward", "measured": 3.25, "verdict": "met"}]),
        measured("cold_start", metrics={"total_ms_p50": 327.6, "file_mb": 7.05}),
        measured("accuracy", status="skipped", targets=[unseen]),
        measured(detector="radar", weights="untrained", metrics={"latency_ms_p50": 50}, targets=[
            {**target, "source": "radar", "measured": 50.0, "verdict": "missed"}]),
    ]  # fmt: skip
    write(folder / "cpu.json", *rows)
    found = judged({"stylegan_ffhq": (0.888, 0.02), "unlabelled": (0.7, 0.1)}, data="evaluation")
    plumbing = judged({"plumbing": (1.0, 0.0)}, data=PLUMBING.name)
    missed = {**auc, "measured": 0.794, "verdict": "missed"}
    write(folder / "evaluation.json", plumbing, found.model_validate({**found.model_dump(), "targets": [missed]}))
    (folder / "labels.toml").write_text('[sources]\nelsewhere = "E"\nstylegan_ffhq = "StyleGAN"\n[networks]\n')
    return folder


def write(file, *measurements):
    Report(
        project_version="0.1", created="2026-01-02T03:04:05+00:00", machine=MACHINE, measurements=measurements
    ).write(file)


def cells(text, *first):
    """The cells of the only row that begins with ``first``."""
    (row,) = (line for line in text.splitlines() if line.startswith(f"| {' | '.join(first)} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_speed_has_a_row_for_each_detector(results):
    shown = published.speed(results)
    machine = "CPU, 2 of 4 CPUs; Python 3.11, numpy 2. Measured on 2026-01-02."
    assert shown.startswith(f"{machine} Ran on: cpu, 2 threads.\n\n")
    assert cells(shown, "`lite`", "onnxruntime")[2:] == ["3.25", "26.5", "–", "–", "328", "192", "7.05"]
    assert cells(shown, "`radar`, untrained", "onnxruntime")[2:] == ["50.0", *["–"] * 6]


def test_the_board_joins_the_reports(results, monkeypatch):
    monkeypatch.setattr(plugins, "detectors", dict)
    shown = published.targets(results)
    assert shown.startswith("1 met, 2 missed, 0 not measurable here.\n\n")
    latency = ["lite: forward", "3.25 (onnxruntime, cpu, 2 threads)", "met"]
    assert cells(shown, "`lite`", "`latency_ms_p50` ≤ 12")[2:] == latency
    judged = ["lite (dataset: evaluation)", "0.794 (onnxruntime, cpu, 2 threads, evaluation)", "**missed**"]
    assert cells(shown, "`lite`", "`auc` ≥ 0.9")[2:] == judged
    (results / "evaluation.json").unlink()
    unjudged = ["–", "not measurable here: stated for the dataset evaluation; measured on x"]
    assert cells(published.targets(results), "`lite`", "`auc` ≥ 0.9")[3:] == unjudged


def test_targets_that_were_documented_later_are_judged_by_what_was_measured(results, measured):
    said = cells(published.targets(results), "`lite`", "`auc` ≥ 0.95")
    assert said[3:] == ["0.888 (onnxruntime, cpu, 2 threads, evaluation)", "**missed**"]
    write(results / "record.json", measured("training_record", metrics={"auc_left_out": 0.86, "ece_validation": 0.07}))
    shown = published.targets(results)
    assert cells(shown, "`lite`", "`auc_left_out` ≥ 0.85")[-1] == "met"
    assert cells(shown, "`lite`", "`ece_validation` ≤ 0.05")[-1] == "**missed**"
    absent = cells(shown, "`lite`", "`false_fake_left_out_worst` ≤ 0.1")[-1]
    assert absent == "not measurable here: false_fake_left_out_worst has no value here"


def test_a_line_says_what_a_detector_is_good_and_bad_at(results, judged, monkeypatch):
    aucs = {"swaps": (0.7, 0.1), "gan": (0.97, 0.01), "seen": (0.86, 0.01), "middling": (0.8, 0.1), "few": (0.1, 0.1)}
    row = judged(aucs, data="evaluation", metrics={"auc": 0.7, "reals_passed": 0.9}).model_dump()
    for source in row["sources"]:
        source["metrics"]["fakes_found"] = {"value": 0.5}
        source["groups"] = 2 if source["source"] == "few" else 100
    row["sources"][2] |= {"real": 0, "source": "portraits"}
    kept = {"leave_one_out": {"sources": [
        {"source": "kept", "auc": {"value": 0.66}, "false_fake": {"value": 0.02}},
        {"source": "studio", "auc": None, "false_fake": {"value": 0.3}},
    ]}}  # fmt: skip
    manifest = df.load("lite").manifest.model_copy(update={"metrics": kept})
    monkeypatch.setattr(published_strengths, "load", lambda _: SimpleNamespace(manifest=manifest))
    write(results / "evaluation.json", Measurement.model_validate(row))
    (results / "labels.toml").write_text('[sources]\n[networks]\n[short]\ngan = "a GAN"\n')
    good, bad = cells(published_strengths.strengths(results), "`lite`")[1:]
    assert good == "a GAN (AUC 0.97)"
    assert bad.split("; ") == [
        "`studio` (left out: 30% of real faces called fake)",
        "`kept` (left out: AUC 0.66)",
        "`swaps` (AUC 0.70)",
    ]


def test_the_plumbing_set_is_no_accuracy(results):
    file = results / "evaluation.json"
    report = json.loads(file.read_text())
    for source in (source for row in report["measurements"] for source in row["sources"]):
        for name in ("average_precision", "eer", "tpr_at_5pct_fpr", "balanced_accuracy"):
            source["metrics"][name] = {"value": 0.25}
    file.write_text(json.dumps(report))
    shown = published.accuracy(results)
    assert "plumbing" not in shown
    assert cells(shown, "stylegan_ffhq")[3:8] == ["0.888 [0.868, 0.908]", *["0.250"] * 4]


def test_the_readme_shows_found_fakes_and_false_alarms_of_the_labelled_sources(results):
    report = json.loads((results / "evaluation.json").read_text())
    (row,) = (row for row in report["measurements"] if row["dataset"]["name"] == "evaluation")
    both, alone = row["sources"]
    found = {"fakes_found": {"value": 0.3, "low": 0.133, "high": 0.467}}
    both["metrics"] |= found | {"reals_passed": {"value": 0.95, "low": 0.9, "high": 0.99}}
    both["unsure_rate"] = 0.25
    alone |= {"source": "elsewhere", "real": 0, "fake": 30, "metrics": {"auc": {"value": None}, **found}}
    (results / "evaluation.json").write_text(json.dumps(report))
    shown = published.lite(results)
    assert cells(shown, "StyleGAN")[1:] == ["20 + 20", "0.888 [0.868, 0.908]", "30% [13%, 47%]", "5% [1%, 10%]", "25%"]
    assert cells(shown, "E")[1:5] == ["0 + 30", "–", "30% [13%, 47%]", "–"]
    band = df.load("lite").manifest.calibration
    assert f"real below {band.unsure_low:.1%}" in shown
    assert published.unet(results).splitlines()[2:] == []  # it was not measured


def test_the_readme_tells_the_pace_in_a_sentence(results):
    (line,) = published.pace(results).splitlines()
    assert line == (
        "With 2 threads on CPU, a face takes 3.25 ms in the network, and a 1080p JPEG 26.5 ms from file to verdict."
    )


def test_missed_goals_are_listed(results):
    (results / "exported.json").write_text(figures())
    assert published.missed(results) == "- torch / int8: 2.5, where ≥ 3 was the goal"
    (results / "exported.json").write_text(figures().replace('"missed"', '"met"'))
    assert published.missed(results) == "- nothing"


# ── a GPU ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def gpu_report(tmp_path, measured):
    """A folder with a made-up report of a GPU that does not exist."""
    folder = tmp_path / "of-gpu"
    folder.mkdir()
    targets = [target for target in plugins.detectors()["lite"].spec.targets if "GPU:" in target.condition]
    about = {"recipe": "default", "batch": "256, in bf16", "gpu": "Made-up H200, 1 GB; CUDA 0"}
    device = {"backend": "torch", "device": "cuda: Made-up H200"}
    parts = {"data": 0.1, "augment": 0.0, "forward": 0.3, "backward": 0.5, "optimizer": 0.1}
    rates = {"images_per_s_on_device": 9000.0, "images_per_s_compiled": 12000.0, "pairs_over_ready": 0.75}
    trained = measured(
        "train_throughput", **device, others_share=0.0, conditions={**about, "images_per_s_store": "not measured: why"},
        metrics={**rates, **{f"share_{part}": share for part, share in parts.items()}},
    )  # fmt: skip
    trained = trained.model_copy(update={"targets": check_targets(targets, trained)})
    beside = measured(
        "train_throughput", **device, conditions=about, metrics={"mfu": 0.4, "images_per_s_on_device": 1.0}
    )
    judging = measured(**device, metrics={"latency_ms_p50": 1.5})
    failed = measured("offline", **device, status="failed", reason="ended after 45 s, its limit")
    write(folder / "gpu.json", trained, beside, judging, failed)
    return folder


def test_a_gpu_has_rates_shares_latencies_and_what_is_missing(gpu_report):
    shown = published.contents(gpu_report)["gpu"]
    assert shown.startswith("Made-up H200, 1 GB; CUDA 0; CPU, 2 of 4 CPUs")
    row = cells(shown.partition("**Shares")[0], "`lite`", "default")
    assert row[2:8] == ["256, in bf16", "9000", "12000", "–", "–", "0.75"]
    assert row[-1] == "0.4"  # of the second measurement of the same; its other figures do not count
    assert "| `lite` | default | 256, in bf16 | 10% | 0% | 30% | 50% | 10% |" in shown
    assert "(assets/gpu-shares.svg)" in shown
    assert cells(shown, "`lite`", "torch")[2] == "1.5"
    assert "- `lite`, `train_throughput`, torch: `images_per_s_store`: not measured: why" in shown
    assert "- `lite`, `offline`, torch: failed: ended after 45 s, its limit" in shown


def test_the_targets_for_a_gpu_are_judged(gpu_report):  # 000-11, 002-12, 003-15, 004-12
    shown = published.targets(gpu_report).splitlines()
    verdict = {line.split("|")[2].strip().split()[0]: line.split("|")[5].strip() for line in shown if "H200" in line}
    assert verdict["`images_per_s_compiled`"] == "met"
    assert verdict["`pairs_over_ready`"] == "**missed**"
    assert verdict["`store_over_ready`"].startswith("not measurable here: store_over_ready has no value")


def test_the_picture_shows_the_shares_of_a_step(gpu_report, tmp_path):
    picture = published_gpu.shares_picture(gpu_report)
    assert ET.fromstring(picture).tag.endswith("svg")
    widths = [float(found) for found in re.findall(r'width="([\d.]+)" height="22"', picture)]
    assert sum(widths) == pytest.approx(560)
    assert "50%" in picture
    assert published_gpu.shares_picture(tmp_path) == ""


def test_without_a_gpu_the_page_says_so_and_the_step_how_to_measure_one(project, monkeypatch):
    assert published.contents(project / "results") == {"gpu": published_gpu.NOTHING}
    assert published_gpu.NOTHING.startswith("**No GPU has been measured yet.**")
    done = run(monkeypatch, [publish_steps.STEPS["gpu"]], "--only", "gpu")
    assert done.exit_code == 0
    assert "gpu: left out, it needs " in done.output
    assert "gpu.json; sh benchmarks/gpu.sh --pack FOLDER" in done.output


def test_the_step_fills_the_pages_with_what_was_measured_elsewhere(project, gpu_report, monkeypatch):
    (project / "README.md").write_text("<!-- results: gpu -->\n<!-- /results -->\n")
    (project / "docs" / "assets").mkdir()
    monkeypatch.setattr(publish, "RESULTS", gpu_report)
    done = run(monkeypatch, [publish_steps.STEPS["gpu"]], "--only", "gpu")
    assert done.exit_code == 0, done.output
    assert "Made-up H200" in (project / "README.md").read_text()
    assert (project / "docs" / "assets" / "gpu-shares.svg").read_text() == published_gpu.shares_picture(gpu_report)


def test_a_report_without_a_gpu_is_refused(results, measured):
    write(results / "gpu.json", measured(metrics={"latency_ms_p50": 1.5}))
    with pytest.raises(DeepfakeError, match=r"gpu\.json: nothing in it was measured on a GPU"):
        published_gpu.gpu(results)


def figures(what="**torch / int8**"):
    rows = [
        {"what": what, "value": 2.5, "unit": "", "goal": "≥ 3", "verdict": "missed", "note": ""},
        {"what": "int8", "value": 4.0, "unit": "ms", "goal": "", "verdict": "", "note": "why"},
        {"what": "peer", "value": None, "unit": "ms", "goal": "", "verdict": "", "note": "not installed"},
    ]
    about = {"created": "2026-01-02T03:04:05+00:00", "machine": MACHINE.model_dump(), "others_share": 0.012}
    return json.dumps({**about, "threads": 2, "rows": rows})


def test_figures_are_shown_with_unit_note_and_verdict(results):
    (results / "peers.json").write_text(figures())
    shown = published.peers(results)
    assert "| **torch / int8** | 2.5 | ≥ 3 | **missed** |\n| int8 | 4 ms (why) |  |  |\n" in shown
    assert cells(shown, "peer")[1] == "not installed"
    assert shown.endswith("Other work took 1.2% of the processors' time.")


def test_programs_that_are_not_ours_stand_beside_each_other(results):
    worst = {"lite": 0.0, "unet": 3.2e-8, "tiny-core": 0.5}
    (results / "foreign.json").write_text(json.dumps({"onnxruntime 1.31, Python": worst}))
    assert published.foreign(results).splitlines()[0] == "|  | `lite` | `unet` |"
    assert published.foreign(results).endswith("| onnxruntime 1.31, Python | 0 | 3e-08 |")


def test_protection_tells_what_was_trained_against():
    found = json.loads((RESULTS / "protection.json").read_text(encoding="utf-8"))
    shown = published.protection(RESULTS)
    for name, label in (("swapper 1", "face swapper 1, trained against"),
                        ("held-out autoencoder", "**autoencoder 2, not trained against**")):  # fmt: skip
        (effect,) = (
            item for item in found["effects"]
            if (item["surrogate"], item["attack"], item["path"]) == (name, "PGD", "as it is")
        )  # fmt: skip
        change = effect["change"]
        interval = f"{change['value']:.3f} [{change['low']:.3f}, {change['high']:.3f}]"
        assert cells(shown, label, "as it is")[-1] == interval


def test_results_that_are_something_else_are_named(results):
    (results / "exported.json").write_text('{"rows": []}')
    with pytest.raises(DeepfakeError, match=r"exported\.json: created: .*publish\.py --only exported"):
        published.exported(results)
    (results / "labels.toml").write_text("[sources]")
    with pytest.raises(DeepfakeError, match=r"labels\.toml: no tables"):
        published.lite(results)


def test_a_page_with_an_unknown_block_is_refused(project):
    (project / "docs" / "page.md").write_text("<!-- results: speeed -->\n<!-- /results -->")
    with pytest.raises(DeepfakeError, match=r"page\.md: unknown block 'speeed'; there are: speed, targets"):
        list(published.pages(project))


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────


def step(name, code, **fields):
    """A step that runs Python code, which is given the folder for its result."""
    return publish_steps.Step(name, lambda _, out: [(sys.executable, "-c", code, str(out))], **fields)


def run(monkeypatch, steps, *arguments):
    monkeypatch.setattr(publish, "STEPS", {item.name: item for item in steps})
    program = typer.Typer()
    program.command()(publish.publish)
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


def peers_step(text):
    code = f"import pathlib, sys; pathlib.Path(sys.argv[1], 'peers.json').write_text({text!r})"
    return step("peers", code, result=lambda _, out: out / "peers.json")


def test_a_result_is_kept_without_folders_and_shown(project, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/else/cache")
    text = figures(what=f"{project}/models/a.onnx").replace('"why"', '"not in /somewhere/else/cache/hub"')
    done = run(monkeypatch, [peers_step(text)])
    assert done.exit_code == 0, done.output
    assert "peers: done" in done.output
    assert str(project) not in (kept := (project / "results" / "peers.json").read_text())
    assert '"not in cache/hub"' in kept
    page = (project / "README.md").read_text()
    assert page.startswith("Prose.\n\n<!-- results: peers -->\n\nCPU, 2 of 4")
    assert "| models/a.onnx | 2.5 |" in page
    assert page.endswith("<!-- /results -->\n\nMore.\n")


def test_a_step_that_fails_changes_nothing_and_the_others_go_on(project, monkeypatch):
    failing = step("cpu", "raise SystemExit(3)", result=lambda _, out: out / "cpu.json")
    silent = step("exported", "pass", result=lambda _, out: out / "exported.json")
    (project / "results").mkdir()
    done = run(monkeypatch, [failing, silent, peers_step(figures())])
    assert done.exit_code == 1
    assert "cpu: failed, status 3" in done.output
    assert "exported: failed, " in done.output
    assert "--only cpu --only exported" in done.output
    assert [file.name for file in (project / "results").iterdir()] == ["peers.json"]


def test_steps_without_their_inputs_are_left_out_and_named(project, monkeypatch):
    lacking = step("parity", "raise SystemExit(3)", needs=("trained_on", "models", "optimum"))
    done = run(monkeypatch, [lacking], "--models", project / "gone", "--optimum", "python")
    assert done.exit_code == 0
    assert f"parity: left out, it needs --trained-on, --models ({project / 'gone'} is not there)\n" in done.output


def test_packages_that_a_step_lacks_are_named_before_anything_is_measured(project, monkeypatch):
    assert {name for item in publish_steps.STEPS.values() for name in item.imports} <= publish_steps.PACKAGES.keys()
    monkeypatch.setitem(publish_steps.PACKAGES, "no_such_module", "no-such-distribution")
    done = run(monkeypatch, [step("protection", "raise SystemExit(3)", imports=("json", "no_such_module"))])
    assert done.exit_code == 0
    assert done.output == "protection: left out, it needs pip install no-such-distribution\n"


def test_single_steps_and_pages_alone(project, monkeypatch):
    steps = [step("cpu", "raise SystemExit(3)"), peers_step(figures())]
    assert run(monkeypatch, steps, "--only", "peers").exit_code == 0
    page = (project / "README.md").read_text()
    (project / "README.md").write_text(page.replace("2.5", "9.9"))
    assert run(monkeypatch, steps, "--pages").output == ""
    assert (project / "README.md").read_text() == page
    assert run(monkeypatch, steps, "--only", "peeers").exit_code == 2


def test_what_the_steps_run_exists(project):
    given = publish_steps.Inputs("evaluation=data", "data", "clips", "faces", project, "python", project, True)
    program = typer.main.get_command(app)
    asked = []
    for item in publish_steps.STEPS.values():
        for command in [] if item.name in ("protection", "verdicts") else item.commands(given, project):
            if "deepfake_bench" not in command:
                script = Path(next(word for word in command if word.endswith(".py")))
                assert (ROOT / script.relative_to(project) if script.is_relative_to(project) else script).is_file()
                continue
            name, *words = command[command.index("deepfake_bench") + 1 :]
            inner = getattr(program.commands[name], "commands", None)
            parameters = (inner[words[0]] if inner else program.commands[name]).params
            options = {option for parameter in parameters for option in parameter.opts}
            assert not [word for word in words if word.startswith("--") and word not in options], name
            asked.append(name)
    assert asked == ["parity", "parity", "run", *["card"] * len(published_cards.carded(ROOT)), "run", "run", "data"]
