"""Model cards: what is filled in, what is left alone, and that the same findings give the same card."""

from __future__ import annotations

import builtins
import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deepfake_bench.card import blocks, card, tables
from deepfake_bench.card.findings import Findings, LabelledLogits, read_logits, read_validation, score_validation
from deepfake_bench.cli import app
from deepfake_bench.cli.output.tables import show_report
from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import DatasetInfo, Estimate, Machine, Measurement, Report, SourceAccuracy
from deepfake_bench.report.labels import variant_label
from deepfake_bench.runner import launcher
from deepfake_bench.runner.worker import run_job
from deepfake_bench.scenarios.variants import QUICK
from deepfake_core.errors import DeepfakeError, MissingExtra, TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_registry.manifest import Calibration, DataSource, Normalize, PreprocessSpec, Resize, manifest_of
from deepfake_registry.provenance import SourceTerms, read_terms

MEASURES = ("auc", "average_precision", "eer", "tpr_at_5pct_fpr", "balanced_accuracy", "fakes_found", "reals_passed")
FITTED = Calibration(temperature=3.0, bias=-0.5, unsure_low=0.3, unsure_high=0.7, fitted_on="validation split")


def source(name: str, auc: float | None, *, real: int = 20, fake: int = 20, variant: str = "") -> SourceAccuracy:
    found = {key: Estimate(value=0.5) for key in MEASURES}
    low, high = (None, None) if auc is None else (auc - 0.05, auc + 0.05)
    found["auc"] = Estimate(value=auc, low=low, high=high)
    found["auc_change"] = Estimate(value=None if auc is None else auc - 0.9, low=-0.2, high=0.1)
    return SourceAccuracy(
        source=name, variant=variant, real=real, fake=fake, groups=20, no_face_rate=0.1, error_rate=0.0,
        unsure_rate=0.25, metrics=found,
    )  # fmt: skip


def measurement(scenario: str, sources: list[SourceAccuracy] | None = None, **fields) -> Measurement:
    data = DatasetInfo(name="held-out", layout="image-folder", path="/secret/place", samples=70, sha256="ab" * 32)
    return Measurement(
        detector="/secret/model", backend="onnxruntime", device="cpu", threads=2, scenario=scenario,
        dataset=data if sources else None, sources=sources or [], **{"status": "measured", **fields},
    )  # fmt: skip


@pytest.fixture
def findings() -> Findings:
    rng = np.random.default_rng(0)
    fake = np.arange(60) % 2.0
    scores = {
        name: LabelledLogits(name, 4 * rng.normal(size=60) + 4 * fake, fake, np.repeat(["a|b", "c"], 30))
        for name in "ve"
    }
    rows = [
        measurement("single_stream", metrics={"latency_ms_p50": 7.25}, conditions={"latency_ms": "batch 1"}),
        measurement("untrained_probe", [source("a|b", 0.61, variant="network"), source("a|b", 0.66, variant="pixels")],
                    metrics={"auc_network": 0.61, "auc_pixels": 0.66},
                    conditions={"probe": "a probe", "network": "random", "pixels": "small"}),
        measurement("accuracy", [source("a|b", 0.9), source("only", None, real=0)], metrics={"auc": 0.9}),
        measurement("robustness", [
            source(name, auc, real=20 if auc else 0, variant=variant)
            for variant in QUICK for name, auc in (("a|b", 0.8), ("only", None))
        ], metrics={"recoded_change": -0.1, **{f"auc_{variant}": 0.8 for variant in QUICK}}),
    ]  # fmt: skip
    machine = Machine(cpu="CPU", cores=2, allowance=2, memory_mb=1, system="S", python="3.11", libraries={"numpy": "2"})
    spec = PreprocessSpec(resize=Resize(height=64, width=64), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1)))
    manifest = manifest_of(
        name="x", architecture="x", preprocess=spec, weights="trained", version="3", calibration=FITTED,
        provenance=(DataSource(name="faces", role="real", count=1500, terms="not stated"),
                    DataSource(name="more", role="fake", count=2, terms="CC0")),
        training={"steps": 9, "pseudo": {"labelled": 0.3}},
    )  # fmt: skip
    terms = (
        SourceTerms(name="faces", role="fake", what="other", terms="other"),
        SourceTerms(name="faces", what="press photographs", terms="research only"),
        SourceTerms(name="weights", role="initial weights", what="public", terms="Apache-2.0"),
    )
    report = Report(project_version="0.1", created="2026-01-02T03:04:05+00:00", machine=machine, measurements=rows)
    return Findings(manifest, report, scores["v"], (scores["e"],), terms)


def page(folder: Path, *blocks: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "CARD.md"
    marked = "\n\n".join(f"Prose before {name}.\n\n<!-- card: {name} -->\nold\n<!-- /card -->" for name in blocks)
    file.write_text(f"# Title\n\n{marked}\n\nThe end.\n", encoding="utf-8")
    return file


def test_a_page_keeps_its_prose_and_is_the_same_every_time(findings, tmp_path):
    file = page(tmp_path, *blocks.BLOCKS)
    card.fill(file, findings)
    text = file.read_text(encoding="utf-8")
    assert all(f"Prose before {name}." in text for name in blocks.BLOCKS)
    assert text.startswith("# Title\n")
    assert text.endswith("<!-- /card -->\n\nThe end.\n")
    assert "old" not in text.replace("threshold", "")
    assert "secret" not in text
    card.fill(file, findings)
    assert file.read_text(encoding="utf-8") == text


def cells(markdown: str, first: str) -> list[str]:
    """The cells of the table row that begins with ``first``."""
    (line,) = (line for line in markdown.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").replace("\\|", "¦").split("|")]


def test_accuracy_stands_beside_the_untrained_baseline_and_one_class_apart(findings):
    text = blocks.accuracy(findings)
    row = cells(text, "a\\|b")
    assert row[1:4] == ["20", "20", "0.900 [0.850, 0.950]"]
    assert row[-4:] == ["25.0%", "10.0%", "0.0%", "0.610 / 0.660"]
    assert cells(text, "**mean over sources**")[-1] == "0.610 / 0.660"
    assert cells(text, "only")[1:3] == ["20 fake", "0.500"]
    assert "70 files" in text


def test_a_network_without_probes_leaves_a_dash():
    probe = measurement("untrained_probe", [source("a|b", 0.66, variant="pixels")], metrics={"auc_pixels": 0.66},
                        conditions={"probe": "a probe", "network": "left out", "pixels": "small"})  # fmt: skip
    row = measurement("accuracy", [source("a|b", 0.9)], metrics={"auc": 0.9})
    assert cells(tables.accuracy_on(row, probe), "a\\|b")[-1] == "– / 0.660"


def test_the_codec_check_shows_the_paired_change(findings):
    assert cells(blocks.codec(findings), "a\\|b")[1:] == [
        "0.800 [0.750, 0.850]",
        "0.800 [0.750, 0.850]",
        "-0.100 [-0.200, +0.100]",
        "0.610 / 0.660",
    ]
    assert cells(blocks.codec(findings), "**mean over sources**")[3] == "-0.100"
    assert "only" not in blocks.codec(findings)


def test_robustness_has_a_row_for_each_change(findings):
    text = blocks.robustness(findings)
    for variant in QUICK:
        assert cells(text, variant_label(variant))[1:] == ["0.800 [0.750, 0.850]", "0.500", "0.800"]
    assert "only: fakes found" in text


def test_calibration_before_and_after_are_the_measures_of_the_scores(findings):
    v, e = findings.validation, findings.evaluation[0]
    text = blocks.calibration(findings)
    here = e.family == "c"
    plain = 1 / (1 + np.exp(-e.logit[here]))
    fitted = 1 / (1 + np.exp(-(e.logit[here] / 3 - 0.5)))
    expected = [measure(e.fake[here], p) for measure in (metrics.ece, metrics.brier) for p in (plain, fitted)]
    rows = [line for line in text.splitlines() if line.startswith("| e | c |")]
    assert rows == [f"| e | c | 30 | {' | '.join(f'{value:.3f}' for value in expected)} |"]
    whole = metrics.brier(v.fake, 1 / (1 + np.exp(-v.logit)))
    assert f" {whole:.3f} |" in next(line for line in text.splitlines() if line.startswith("| v |"))


@pytest.mark.torch
def test_validation_scores_are_made_again_without_the_run(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from crop_stores import write_tiny
    from safetensors.torch import load_file
    from tiny_run import Bright

    from deepfake_core.contract.recipe import Phase, TrainRecipe
    from deepfake_core.loading import load as loading
    from deepfake_core.training import run as run_module

    recipe = TrainRecipe(phases=(Phase(steps=2),), samples="pictures", batch_size=4, workers=0, validation_share=0.5)
    monkeypatch.setattr(run_module, "_conclude", lambda *_: None)  # it would load an installed detector
    data = write_tiny(tmp_path / "data", {"real": 12, "fake": 12})
    package = run_module.train("bright", Bright(), str(data), recipe, tmp_path / "run", device="cpu", track=())

    loaded = SimpleNamespace(detector=Bright(), network=Bright().build(), manifest=package.manifest)
    (weights,) = package.folder.glob("*.safetensors")
    loaded.network.load_state_dict(load_file(weights))
    monkeypatch.setattr(loading, "load", lambda *_, **__: loaded)
    again, before = score_validation("bright", str(data), tmp_path / "cache"), read_validation(tmp_path / "run")
    np.testing.assert_allclose(again.logit, before.logit, atol=1e-6)
    np.testing.assert_array_equal(again.fake, before.fake)
    np.testing.assert_array_equal(again.family, before.family)

    next(data.rglob("*.png")).unlink()
    with pytest.raises(TrainingDataError, match=r"not the pictures that bright was trained on: .* 11 for 12"):
        score_validation("bright", str(data), tmp_path / "other")
    loaded.manifest = package.manifest.model_copy(update={"training": {}})
    with pytest.raises(TrainingDataError, match="does not say how it was trained"):
        score_validation("bright", str(data), tmp_path / "other")


def test_the_auc_that_training_recorded_stands_beside_the_scores(findings):
    assert "training recorded" not in blocks.calibration(findings)
    recorded = findings.manifest.model_copy(update={"metrics": {"validation": {"auc": 0.9186}}})
    v = findings.validation
    said = f"The AUC over all validation pictures is {metrics.roc_auc(v.fake, v.logit):.3f}; training recorded 0.919."
    assert blocks.calibration(dataclasses.replace(findings, manifest=recorded)).endswith(f"\n\n{said}")


def test_sources_take_their_terms_from_the_file_where_it_has_them(findings):
    text = blocks.sources(findings)
    assert cells(text, "faces")[1:] == ["real", "1,500", "press photographs", "training, validation", "research only"]
    assert cells(text, "more")[-1] == "CC0"
    assert cells(text, "weights")[1:3] == ["initial weights", "–"]
    unused = (*findings.terms, SourceTerms(name="unused", what="pictures of no part in the training", terms="CC0"))
    assert blocks.sources(dataclasses.replace(findings, terms=unused)) == text


def test_score_recipe_speed_and_identity(findings):
    assert "| from 0.3 to below 0.7 | `unsure` |" in blocks.score(findings)
    assert "sigmoid(logit / 3 -0.5)" in blocks.score(findings)
    assert "| training | `pseudo.labelled` | `0.3` |" in blocks.recipe(findings)
    assert cells(blocks.speed(findings), "network, median, ms")[1:] == ["7.2", "batch 1"]
    assert "version 3, weights trained" in blocks.identity(findings)


def test_what_was_not_measured_says_why(findings):
    failed = measurement("accuracy", status="failed", reason="no samples")
    report = findings.report.model_copy(update={"measurements": [failed]})
    bare = Findings(findings.manifest, report, findings.validation)
    assert blocks.accuracy(bare) == "Not measured: no samples."
    assert blocks.speed(bare) == blocks.codec(bare) == "Not measured: not asked for."


def test_a_new_card_has_every_block_once(tmp_path):
    file = tmp_path / "CARD.md"
    card.begin(file, "mine")
    assert sorted(card.blocks_of(file)) == sorted([*blocks.BLOCKS, card.PICTURES, card.EVIDENCE])
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# mine\n\nWhat it is for")
    assert text.index("## Training data") < text.index("<!-- card: shortcuts -->") < text.index("## How to reproduce")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no marks", "mark each block"),
        ("<!-- card: accuracy -->\nnever closed", "mark each block"),
        ("<!-- card: speed -->\n<!-- card: score -->\n<!-- /card -->", "mark each block"),
        ("<!-- card: acuracy -->\n<!-- /card -->", "unknown block 'acuracy'"),
    ],
)
def test_a_page_with_wrong_marks_is_refused(tmp_path, text, reason):
    file = tmp_path / "CARD.md"
    file.write_text(text)
    with pytest.raises(DeepfakeError, match=reason):
        card.blocks_of(file)
    with pytest.raises(DeepfakeError, match="cannot be read"):
        card.blocks_of(tmp_path / "gone.md")


def test_bad_files_are_named(tmp_path):
    for name, content in {"gone": None, "broken": b"no archive"}.items():
        if content is not None:
            (tmp_path / name).mkdir()
            (tmp_path / name / "validation_scores.npz").write_bytes(content)
        with pytest.raises(TrainingDataError, match=r"validation_scores\.npz: cannot be read"):
            read_validation(tmp_path / name)
    for text in ("[[source]]\nname = 'x'", "source = 3", "no toml", "[other]"):
        (tmp_path / "s.toml").write_text(text)
        with pytest.raises(DeepfakeError, match=r"s\.toml: not a list of"):
            read_terms(tmp_path / "s.toml")


def test_pictures_are_drawn_beside_the_page(findings, tmp_path):
    pytest.importorskip("matplotlib")
    written = []
    for name in ("one", "two"):
        file = page(tmp_path / name, "pictures")
        card.fill(file, findings)
        pictures = sorted((tmp_path / name / "CARD").iterdir())
        assert [picture.name for picture in pictures] == ["reliability.png", "robustness.png", "roc.png"]
        assert all(f"](CARD/{picture.name})" in file.read_text(encoding="utf-8") for picture in pictures)
        written.append([picture.read_bytes() for picture in pictures])
        for picture in pictures:
            with Image.open(picture) as image:
                assert min(image.size) > 400
                assert len(image.convert("RGB").getcolors(1 << 20)) > 50
    assert written[0] == written[1]


def test_without_validation_scores_there_is_a_diagram_of_the_evaluation_alone(findings, tmp_path):
    pytest.importorskip("matplotlib")
    from deepfake_bench.card.plots import draw

    without = dataclasses.replace(findings, validation=None)
    assert "reliability.png" in draw(without, tmp_path / "some")
    assert "reliability.png" not in draw(dataclasses.replace(without, evaluation=()), tmp_path / "none")


def test_pictures_without_matplotlib_name_the_extra(findings, tmp_path, monkeypatch):
    load = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name=name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    file = page(tmp_path, "pictures")
    with pytest.raises(MissingExtra, match=r"deepfake-core\[report\]"):
        card.fill(file, findings)
    assert "old" in file.read_text()


@pytest.fixture
def command(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "launch", run_job)
    run = tmp_path / "run"
    run.mkdir()
    np.savez(run / "validation_scores.npz", logit=[-1.0, 2.0, 0.5], fake=[0, 1, 1], family=["a", "a", "b"])
    file = page(tmp_path, *blocks.BLOCKS)
    dataset = f"portrait=image-folder:{PLUMBING.path}"
    options = ["--limit", "2", "--seconds", "0.01", "--threads", "1"]
    return ["card", tiny, "--page", str(file), "--dataset", dataset, "--validation", str(run), *options]


def test_the_command_measures_fills_and_fills_again_from_what_it_kept(command, tmp_path, capsys):
    done = CliRunner().invoke(app, command)
    # The tiny detector is an ONNX file without a network: the probe of untrained weights cannot run.
    assert done.exit_code in (0, 1)
    assert done.exit_code == 0 or "untrained_probe failed" in done.output
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert str(PLUMBING.path) not in text
    assert "On **portrait**, 4 files" in text
    report = Report.model_validate_json((tmp_path / "run" / "card" / "report.json").read_bytes())
    assert {row.scenario for row in report.measurements if row.status == "measured"} >= {"accuracy", "robustness"}
    (scores,) = (tmp_path / "run" / "card").glob("predictions-03-*.csv")
    assert len(read_logits(scores, "portrait").logit) == 4
    show_report(report)
    assert "robustness of tiny" in capsys.readouterr().out

    assert CliRunner().invoke(app, [*command, "--reuse"]).exit_code == done.exit_code
    assert (tmp_path / "CARD.md").read_text(encoding="utf-8") == text
    other = [*command, "--reuse", "--dataset", str(PLUMBING.path)]
    assert "leave --reuse out" in CliRunner().invoke(app, other).output


def test_the_command_finds_mistakes_before_it_measures(command, tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "launch", None)
    done = CliRunner().invoke(app, [*command, "--reuse"])
    assert done.exit_code == 2
    assert "no report to reuse" in done.output
    for options in (["--sources", "gone.toml"], ["--dataset", "gone"], ["--page", str(tmp_path)],
                    ["--validation", "gone"], ["--trained-on", "faces"]):  # fmt: skip
        assert CliRunner().invoke(app, [*command, *options]).exit_code == 2
    without = command[: command.index("--validation")]
    for options in ([], ["--trained-on", "faces"]):
        assert "name the training run with --validation" in CliRunner().invoke(app, [*without, *options]).output
