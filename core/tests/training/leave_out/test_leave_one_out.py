"""Each source left out in turn: runs that go on, sources that cannot be left out, and what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deepfake_core as df
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.discovery.artifacts import read_bare, read_package
from deepfake_core.errors import DeepfakeError, TrainingDataError
from deepfake_core.evaluation.metrics import roc_auc
from deepfake_core.testing import draw_face
from deepfake_core.training.leave_out import figures, runs
from deepfake_core.training.leave_out import start as start_module
from deepfake_core.training.leave_out.figures import Scores
from deepfake_core.training.leave_out.record import into_package
from deepfake_core.training.leave_out.results import read_results
from deepfake_core.training.runs.listing import find_runs

pytestmark = pytest.mark.torch

RECIPE = TrainRecipe(
    phases=(Phase(steps=1, lr=1e-3),), batch_size=4, workers=0, validation_share=0.5, channels_last=False,
    pretrained=False,
)  # fmt: skip


def write_sources(folder: Path, counts: dict[str, int]) -> Path:
    """Drawn faces of several sources, such as ``{"a/real": 4}``; each picture is a group."""
    number = 0
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True)
        for _ in range(count):
            Image.fromarray(draw_face(number, 120)).save(folder / kind / f"{number}.png")
            number += 1
    return folder


def test_each_source_is_left_out_in_turn(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_sources(tmp_path / "data", {"a/real": 4, "a/fake": 4, "made/fake": 5, "taken/real": 5})
    folder = tmp_path / "runs"
    train, trained = runs.train_detector, []
    monkeypatch.setattr(figures, "DRAWS", 50)

    def interrupted(loaded, data, recipe, run, **options):
        if len(trained) == 1:
            trained.append("Ctrl-C")
            raise KeyboardInterrupt
        trained.append(recipe.leave_out)
        return train(loaded, data, recipe, run, **options)

    monkeypatch.setattr(runs, "train_detector", interrupted)

    def start(recipe=RECIPE, **options):
        return df.leave_one_out("tiny", data, folder, recipe, device="cpu", track=(), **options)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert read_results(folder).missing == ("made", "taken")
    assert not read_results(folder).complete
    found = start()
    assert trained == [("a",), "Ctrl-C", ("made",), ("taken",)], "a finished source is not run again"
    assert found == read_results(folder)
    assert found.complete
    assert find_runs(folder) == [folder / name for name in ("a", "made", "taken")], "each is an ordinary run"
    assert len(list((folder / "cache").glob("train-*"))) == 1, "faces are cut once"

    rows = {row.source: row for row in found.sources}
    assert [(row.real, row.fake, row.total) for row in (rows["a"], rows["made"], rows["taken"])] == [
        (4, 4, 8), (0, 5, 5), (5, 0, 5),
    ]  # fmt: skip
    assert (rows["a"].against, rows["made"].against, rows["taken"].against) == (("a",), ("a", "taken"), ())
    assert rows["taken"].auc is rows["taken"].found is rows["made"].false_fake is None
    assert rows["a"].steps == 1
    assert any("no real faces" in said for said in rows["made"].warnings)
    for name in rows:  # nothing of a source has trained or validated
        counts = json.loads((folder / name / "data.json").read_text())["counts"]
        assert name not in {count["source"] for count in counts}

    scores = Scores.read(folder / "made")
    fakes = scores.p_fake[scores.fake == 1]
    aucs = []
    for pool in ("a", "taken"):
        reals = scores.p_fake[(scores.fake == 0) & (scores.source == pool)]
        aucs.append(roc_auc([1] * len(fakes) + [0] * len(reals), [*fakes, *reals]))
    assert rows["made"].auc.value == pytest.approx(np.mean(aucs), abs=1e-6), "sources of real faces weigh alike"

    with pytest.raises(DeepfakeError, match=r"other runs \(seed: 42 → 1\)"):
        start(RECIPE.model_copy(update={"seed": 1}))
    with pytest.raises(TrainingDataError, match="no source nobody to leave out; there are: a, made, taken"):
        start(sources=["nobody"])

    package, differs = into_package(found, folder / "taken")
    assert package.manifest.metrics["leave_one_out"]["means"]["auc"]["sources"] == ["a", "made"]
    assert package.manifest.metrics["leave_one_out"]["steps"] == 1
    assert differs == (), "that the run itself leaves a source out is no difference"
    kept = read_package(folder / "taken")
    assert kept.manifest == package.manifest
    assert read_bare(kept.artifact("safetensors").path).manifest == package.manifest.embedded()
    with pytest.raises(DeepfakeError, match="results are of 'other'"):
        into_package(found.model_copy(update={"detector": "other"}), folder / "taken")


def test_a_source_that_cannot_be_left_out_is_named(tiny: Path, tmp_path: Path) -> None:
    data = write_sources(tmp_path / "data", {"a/real": 4, "a/fake": 4, "b/real": 4})
    found = df.leave_one_out("tiny", data, tmp_path / "runs", RECIPE, sources=["a"], device="cpu", track=())
    assert not found.sources
    assert [(one.source, one.reason) for one in found.skipped] == [("a", "no fakes are left to train on")]
    assert not found.complete


def test_runs_start_from_weights_that_do_not_know_the_source(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_sources(tmp_path / "data", {"a/real": 8, "a/fake": 8, "b/real": 8, "b/fake": 8, "taken/real": 8})
    options = {"cache_dir": tmp_path / "cache", "device": "cpu", "track": ()}
    without = RECIPE.model_copy(update={"leave_out": ("a",)})
    begun = df.load("tiny", untrained=True).train(data, without, tmp_path / "begun", **options)
    found = df.leave_one_out("tiny", data, tmp_path / "runs", RECIPE, start=begun, **options)
    assert [row.source for row in found.sources] == ["a"]
    assert (found.sources[0].real, found.sources[0].fake) == (8, 8)
    assert {one.source: one.reason.partition("has learnt ")[2] for one in found.skipped} == {
        "b": "from its fakes, too; start from weights that have not",
        "taken": "from its real faces; start from weights that have not",
    }
    assert found.start == f"tiny {begun.manifest.version}"
    assert read_package(tmp_path / "runs" / "a").manifest.training["start"]["leave_out"] == ["a"]
    with pytest.raises(DeepfakeError, match=r"holds the results of other runs \(start: tiny "):
        df.leave_one_out("tiny", data, tmp_path / "runs", RECIPE, **options)
    monkeypatch.setattr(begun, "training_groups", None)
    with pytest.raises(DeepfakeError, match="does not say all that it was trained on"):
        df.leave_one_out("tiny", data, tmp_path / "other", RECIPE, start=begun, **options)


def test_faces_that_the_start_has_learnt_from_are_not_judged(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that know the real faces of a source, but none of its fakes, do for its other faces."""
    data = write_sources(tmp_path / "data", {"a/real": 8, "a/fake": 8, "b/real": 8, "b/fake": 8})
    options = {"cache_dir": tmp_path / "cache", "device": "cpu", "track": ()}
    begun = df.load("tiny", untrained=True).train(data, RECIPE, tmp_path / "begun", **options)
    monkeypatch.setattr(start_module, "labelled", lambda training: False)
    found = df.leave_one_out("tiny", data, tmp_path / "runs", RECIPE, sources=["a"], start=begun, **options)
    row, scores = found.sources[0], Scores.read(tmp_path / "runs" / "a")
    assert 0 < len(scores) == row.real + row.fake < row.total == 16
    assert set(scores.fake.tolist()) == {0, 1}
    assert not begun.training_groups.seen(scores.group.tolist())
    assert any("learnt from other faces of it" in said for said in row.warnings)


def test_a_recipe_of_pairs_says_whether_it_learns_from_fakes_of_the_data() -> None:
    own = {"samples": "pairs", "pairs": {"pseudo": {"labelled": 0.0}}, "start": None}
    taught = {"samples": "pairs", "pairs": {"pseudo": {"labelled": 0.2}}, "start": None}
    assert not start_module.labelled(own)
    assert not start_module.labelled({**own, "start": own})
    assert start_module.labelled(taught)
    assert start_module.labelled({**own, "start": taught})
    assert start_module.labelled({"samples": "pictures", "start": None})
