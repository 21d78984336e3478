"""Blocks of a card that the package itself fills, and the pictures that may be shown in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake_bench.card import blocks, card, evidence, kept
from deepfake_bench.card.findings import Findings
from deepfake_bench.records.dataset import PLUMBING, DatasetRef
from deepfake_core import load
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.data.audit.remedies import meaning
from deepfake_core.evaluation.calibration import fit_calibration
from deepfake_core.evaluation.validated import validated
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, manifest_of
from deepfake_registry.provenance import SourceTerms, read_terms

LEFT_OUT = {
    "detector": "lite", "data": "faces", "steps": 900, "minutes": None, "faces": 400,
    "means": {"auc": {"mean": 0.71, "worst": 0.62, "worst_source": "swap", "sources": ["swap", "gan"]}},
    "sources": [
        {"source": "swap", "real": 80, "fake": 90, "groups": 80, "against": ["swap"], "validation_auc": 0.9,
         "auc": {"value": 0.62, "low": 0.55, "high": 0.69}, "found": {"value": 0.4, "low": 0.3, "high": 0.5},
         "called_fake": {"value": 0.2, "low": 0.1, "high": 0.3},
         "false_fake": {"value": 0.08, "low": None, "high": None}, "warnings": ["80 groups only"]},
    ],
    "skipped": [{"source": "tiny", "reason": "3 faces"}], "differs": ["phases.0.steps"],
}  # fmt: skip
SHORTCUTS = {
    "data": {"swap": {"worst": "sharpness_1", "auc": 0.913, "together": 0.95, "seen": 0.93, "baseline": 0.9}},
    "drawn": {"swap": {"worst": "brightness", "auc": 0.552, "together": None, "baseline": None}},
}


def findings(**metrics: object) -> Findings:
    spec = PreprocessSpec(resize=Resize(height=64, width=64), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1)))
    manifest = manifest_of(name="x", architecture="x", preprocess=spec, weights="trained", metrics=metrics)
    return Findings(manifest, None, None)


def cells(markdown: str, first: str) -> list[str]:
    (line,) = (line for line in markdown.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.fixture
def figures() -> dict:
    rng = np.random.default_rng(0)
    fake = np.repeat([0.0, 1.0], 200)
    family = np.tile(np.repeat(["swap", "gan"], 100), 2)
    logit = rng.normal(4 * fake - 2, 1.0)
    return validated(logit, fake, family, fit_calibration(logit, fake, family, "made"))


def test_what_a_package_does_not_keep_is_said_not_to_be_measured() -> None:
    bare = findings()
    for block in (*kept.BLOCKS, blocks.calibration, blocks.accuracy, blocks.speed):
        assert block(bare).startswith("Not measured: "), block.__name__
    assert blocks.identity(bare) == "Model `x` version 0, weights trained. Not measured yet."


def test_seen_and_left_out_stand_side_by_side() -> None:
    found = findings(
        validation={"auc": 0.9, "auc_mean": 0.93, "auc_swap": 0.95, "auc_gan": 0.91}, leave_one_out=LEFT_OUT
    )
    assert cells(kept.validation(found), "swap") == ["0.950", "0.620 [0.550, 0.690]"]
    assert cells(kept.validation(found), "gan") == ["0.910", "–"]
    assert cells(kept.validation(found), "**mean**") == ["0.930", "0.710"]


def test_sources_that_were_left_out_have_every_measure_and_what_limits_it() -> None:
    text = kept.leave_one_out(findings(leave_one_out=LEFT_OUT))
    assert "run of 900 steps" in text
    assert cells(text, "swap") == [
        "80 + 90", "0.620 [0.550, 0.690]", "40.0% [30.0%, 50.0%]", "20.0% [10.0%, 30.0%]", "8.0%", "swap",
    ]  # fmt: skip
    for said in ("- swap: 80 groups only", "- tiny: left out of this table, 3 faces", "differs: phases.0.steps"):
        assert said in text


def test_what_the_command_writes_into_a_package_is_shown() -> None:
    from deepfake_core.training.leave_out.results import LeaveOneOut, LeftOut, Measured, Skipped

    recipe = TrainRecipe(phases=(Phase(steps=700),))
    row = LeftOut(source="a|b", run="a", real=9, fake=9, groups=9, total=9, auc=Measured(value=0.75), steps=700)
    about = {"detector": "x", "recipe": recipe, "data": "faces", "content": "0" * 64, "faces": 9}
    found = LeaveOneOut(**about).with_results([row], [Skipped(source="c", reason="it is alone")])
    text = kept.leave_one_out(findings(leave_one_out={**found.short(), "differs": []}))
    assert "short run of 700 steps" in text
    assert cells(text, "a\\|b")[-5:] == ["0.750", "–", "–", "–", ""]
    assert cells(text, "**worst**") == ["", "0.750", "–", "–", "–", ""]
    assert "- c: left out of this table, it is alone" in text


def test_false_alarms_stand_beside_those_on_sources_that_were_left_out(figures: dict) -> None:
    text = kept.false_alarms(findings(**figures, leave_one_out=LEFT_OUT))
    reals, fakes, band = text.split("\n\n")
    share = figures["false_alarms"]["swap"]
    assert cells(reals, "swap")[:2] == ["100", "100"]
    assert cells(reals, "swap")[2].startswith(f"{share['share']:.1%}")
    assert cells(reals, "swap")[-1] == "8.0%"
    assert cells(fakes, "swap")[-1] == "20.0% [10.0%, 30.0%]"
    assert f"The real faces of {figures['calibration']['band']['decided_by']} decide" in band


def test_a_bound_that_does_not_hold_and_too_few_faces_are_said(figures: dict) -> None:
    band = {**figures["calibration"]["band"], "holds": False, "too_few": ["tiny", "small"]}
    said = kept.band_in_words(band)
    assert "**the bound of 5% is not shown to hold**" in said
    assert said.endswith("fewer than 59 groups together: tiny, small.")


def test_shortcuts_before_and_after() -> None:
    before, after = kept.shortcuts(findings(shortcuts=SHORTCUTS)).split("\n\nIn the pictures as training draws them")
    assert cells(before, "swap") == [meaning("sharpness_1").called, "0.91", "0.95", "0.93", "0.90"]
    assert cells(after, "swap") == ["brightness", "0.55", "–", "–", "–"]
    drawn = kept.shortcuts(findings(shortcuts={"data": None, "drawn": SHORTCUTS["drawn"]}))
    assert drawn.startswith("In the pictures as they are: not measured.")
    assert "brightness" in drawn


def test_calibration_is_that_of_the_package_where_no_scores_are_at_hand(figures: dict) -> None:
    row = cells(blocks.calibration(findings(**figures)), "validation")
    assert row[1] == "400"
    assert row[2:4] == [f"{figures['calibration'][f'ece_{when}']:.3f}" for when in ("before", "after")]


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def elsewhere(tmp_path: Path) -> DatasetRef:
    """A dataset of two sources, with one picture of each class."""
    for source in ("open", "gated"):
        for label in ("real", "fake"):
            (tmp_path / source / label).mkdir(parents=True)
            (tmp_path / source / label / "a.jpg").write_bytes((Path(PLUMBING.path) / label / "view03.jpg").read_bytes())
    return DatasetRef(name="elsewhere", layout="image-folder", path=str(tmp_path))


def test_only_pictures_whose_terms_allow_it_are_shown(tiny: str, elsewhere: DatasetRef, tmp_path: Path) -> None:
    file = tmp_path / "terms.toml"
    file.write_text(
        '[[source]]\nname = "open"\nrole = "real"\nwhat = "w"\nterms = "CC0"\nshown = true\n'
        '[[source]]\nname = "gated"\nwhat = "w"\nterms = "research only"\n'
    )
    with load(tiny) as detector:
        found = evidence.explained(detector, [elsewhere], read_terms(file))
        embedded = evidence.explained(detector, [], ())
    assert len(embedded) == 2 * evidence.EACH
    assert [item.png for item in found[: len(embedded)]] == [item.png for item in embedded]
    assert [item.title.split(", ")[:2] for item in found[len(embedded) :]] == [["open", "real"]]

    page = tmp_path / "CARD.md"
    page.write_text("<!-- card: evidence -->\n<!-- /card -->\n")
    card.fill(page, Findings(findings().manifest, None, None, evidence=found))
    for item in found:
        assert f"![{item.caption}](CARD/{item.file})" in page.read_text()
        with Image.open(tmp_path / "CARD" / item.file) as picture:
            assert picture.format == "PNG"


def test_nothing_is_shown_of_a_source_without_terms() -> None:
    assert not SourceTerms(name="a", what="w", terms="CC0").shown
    for file in Path(__file__).parents[3].glob("plugins/*/provenance.toml"):
        for source in read_terms(file):
            assert not (source.shown and source.name in ("faceforensics_sequences", "dfdc_faces")), file
