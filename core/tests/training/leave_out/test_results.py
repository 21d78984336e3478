"""Figures of sources that were left out: their means, their files, the comparison of two recipes, the picture."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from left_out_results import scores_of, write_results

from deepfake_core.errors import DeepfakeError
from deepfake_core.evaluation.metrics import grouped_bootstrap, roc_auc
from deepfake_core.training.leave_out import figures
from deepfake_core.training.leave_out.figures import Scores, auc, share
from deepfake_core.training.leave_out.results import LeaveOneOut, folder_of, read_results
from deepfake_core.training.leave_out.versus import Versus, versus


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "DRAWS", 100)


def plain(record) -> dict:
    """A record as another program reads it, checked against the schema of its class."""
    content = json.loads(record.model_dump_json())
    if find_spec("jsonschema"):
        import_module("jsonschema").validate(content, type(record).model_json_schema())
    return content


def test_the_auc_is_the_mean_over_the_sources_of_real_faces():
    scores = scores_of("made", 40, {"a": 10, "b": 200}, 1.0)
    found = auc(scores)
    parts = [scores[(scores.fake == 1) | (scores.source == name)] for name in ("a", "b")]
    assert found.value == pytest.approx(np.mean([roc_auc(part.fake, part.p_fake) for part in parts]), abs=1e-6)
    assert found.low < found.value < found.high
    one = scores_of("both", 40, {"both": 50}, 1.0)
    low, high = grouped_bootstrap(one.fake, one.p_fake, one.group, roc_auc, 100)
    assert (auc(one).low, auc(one).high) == pytest.approx((low, high), abs=0.02), "the interval of any other AUC"
    reals = one[one.fake == 0]
    assert share(reals, reals.called_fake).value == pytest.approx(np.mean(reals.p_fake >= 0.7), abs=1e-6)
    assert auc(reals) is None
    assert share(one[:0], one[:0].found) is None


def test_results_are_ordered_and_averaged(tmp_path: Path):
    found = write_results(tmp_path, 1.0)
    assert found == read_results(tmp_path)
    assert [row.source for row in found.sources][-1] == "taken", "sources of real faces come last"
    assert found.sources[-1].in_words == f"taken: false fake {found.sources[-1].false_fake.value:.1%}"
    values = [row.auc.value for row in found.sources[:2]]
    assert values == sorted(values), "the worst first"
    mean = found.means["auc"]
    assert (mean.mean, mean.worst, mean.worst_source) == (np.mean(values), values[0], found.sources[0].source)
    assert mean.sources == ("both", "made")
    assert found.means["false_fake"].sources == ("both", "taken")
    assert found.means["false_fake"].worst == max(row.false_fake.value for row in found.sources if row.false_fake)
    assert not found.misses(auc=0.5, false_fake=0.9)
    alarms = found.means["false_fake"]
    assert found.misses(auc=0.99, false_fake=0.0) == (
        f"the mean AUC of 2 sources is {mean.mean:.3f}, below 0.99",
        f"{alarms.worst:.1%} of the real faces of {alarms.worst_source} are called fake, above 0.0%",
    )
    assert found.with_results([]).misses(auc=0.5) == (
        "no source that was left out has a figure for: AUC of the fakes of a source that was left out",
    )


def test_the_json_is_a_contract(tmp_path: Path):
    found = write_results(tmp_path / "a", 1.0)
    content = plain(found)
    assert LeaveOneOut.model_validate(content) == found
    assert list(content) == [
        "schema_version", "detector", "config", "recipe", "data", "content", "faces", "start", "sources", "skipped",
        "missing", "means",
    ]  # fmt: skip
    assert list(content["sources"][0]) == [
        "source", "run", "real", "fake", "groups", "total", "against", "auc", "found", "called_fake", "false_fake",
        "validation_auc", "steps", "seconds", "warnings",
    ]  # fmt: skip
    assert list(content["means"]) == ["auc", "found", "called_fake", "false_fake"]
    short = found.short()
    assert list(short) == ["detector", "data", "faces", "start", "sources", "skipped", "means", "steps"]
    assert short["steps"] == 7
    write_results(tmp_path / "b", 2.0)
    compared = plain(versus(tmp_path / "a", tmp_path / "b"))
    assert list(compared) == ["before", "after", "changes", "differs", "before_only", "after_only"]
    assert Versus.model_validate(compared).model_dump(mode="json") == compared


def test_recipes_are_compared_on_the_same_faces(tmp_path: Path):
    before, after = write_results(tmp_path / "a", 0.5), write_results(tmp_path / "b", 2.0, lr=2e-3)
    compared = versus(tmp_path / "a", tmp_path / "b")
    changes = {(one.source, one.measure): one for one in compared.changes}
    mean = changes["", "auc"]
    assert mean.sources == ("both", "made") or mean.sources == ("made", "both")
    assert mean.before == pytest.approx(before.means["auc"].mean, abs=1e-5)
    assert mean.after == pytest.approx(after.means["auc"].mean, abs=1e-5)
    assert mean.change == pytest.approx(mean.after - mean.before, abs=1e-5)
    assert mean.low > 0
    assert mean.verdict == "better"
    assert mean.p_value < 0.05
    own = changes["both", "auc"]
    apart = [row.auc for row in (before, after) for row in row.sources if row.source == "both"]
    assert own.high - own.low < sum(one.high - one.low for one in apart), "paired: the faces are the same"
    assert changes["", "false_fake"].change < 0
    assert changes["", "false_fake"].verdict == "better", "fewer false alarms"
    assert not compared.worse
    assert "auc" in [one.measure for one in versus(tmp_path / "b", tmp_path / "a").worse]
    assert compared.differs == ("phases.0.lr: 0.001 → 0.002",)
    same = versus(tmp_path / "a", tmp_path / "a")
    assert {one.verdict for one in same.changes} == {"no change"}


def test_a_face_that_one_of_them_lacks_is_left_out(tmp_path: Path):
    for name in ("a", "b"):
        write_results(tmp_path / name, 1.0)
    scores = Scores.read(tmp_path / "b" / "taken")
    scores[::-1][10:].write(tmp_path / "b" / "taken")
    row = next(one for one in versus(tmp_path / "a", tmp_path / "b").changes if one.source == "taken")
    assert (row.measure, row.faces, row.change) == ("false_fake", 70, 0.0)
    (tmp_path / "b" / "taken" / "left_out_scores.npz").write_bytes(b"torn")
    with pytest.raises(DeepfakeError, match=r"left_out_scores\.npz: cannot be read"):
        versus(tmp_path / "a", tmp_path / "b")


def test_folders_of_runs_are_names_of_files():
    assert folder_of("lfw") == "lfw"
    made = [folder_of(name) for name in ("ff/Deepfakes", "ff-Deepfakes", "best", "cache", "..", "a b", ".hidden")]
    assert len(set(made)) == len(made)
    assert all("/" not in name and not name.startswith(".") and name not in ("best", "cache") for name in made)


def test_what_is_no_result_is_named(tmp_path: Path):
    with pytest.raises(DeepfakeError, match=r"holds no results \(no leave_one_out\.json\)"):
        read_results(tmp_path)
    (tmp_path / "leave_one_out.json").write_text('{"detector": "tiny"}')
    with pytest.raises(DeepfakeError, match="written by another version"):
        read_results(tmp_path)


def test_the_picture_shows_every_source(tmp_path: Path):
    pytest.importorskip("matplotlib")
    found = write_results(tmp_path / "a", 1.0)
    found.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DeepfakeError, match="nothing to draw"):
        found.with_results([]).plot(tmp_path / "none.png")
