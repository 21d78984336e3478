"""``dfbench scores``: two detectors, subgroups and crossed sources, from the files that the benchmark writes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.predictions import COLUMNS_READ, read_predictions, write_predictions
from deepfake_bench.records.report import SEEN
from deepfake_bench.report import scores
from deepfake_core.datasets import Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics, significance
from deepfake_core.handle.results import Result


def judged(number: int, gap: float, seed: int = 0, *, source: str = "set", suffix: str = ".png", videos: int = 0):
    """Real and fake files in turn, whose scores are ``gap`` deviations apart; each alone, or of one of some videos."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=number) + gap * (np.arange(number) % 2)
    score = (1 / (1 + np.exp(-logit))).round(6)
    found = []
    for index in range(number):
        group = f"{index % 2}-{index % videos if videos else index}"
        sample = Sample(Path("data") / source / f"{index}{suffix}", index % 2 == 1, source, group)
        found.append((sample, Result(sample.name, "fake", float(score[index]), (), "d", "trained")))
    return found


def write(file: Path, *rows, variant: str = "") -> Path:
    write_predictions(file, {variant: [pair for part in rows for pair in part]})
    return file


def dfbench(*arguments):
    return CliRunner().invoke(app, ["scores", *map(str, arguments)])


def test_what_run_wrote_is_read_back(tmp_path):
    rows = judged(6, 1.0)
    rows[0] = (rows[0][0], Result("x", "no_face", None, (), "d", "trained"))
    found = read_predictions(write(tmp_path / "p.csv", rows))
    assert list(found) == [""]
    assert [sample for sample, _ in found[""]] == [sample for sample, _ in rows]
    assert [result.p_fake for _, result in found[""]] == [result.p_fake for _, result in rows]


def test_scores_of_what_trained_the_detector_are_warned_of(tmp_path):
    rows = judged(20, 1.0)
    marked = [(sample, replace(result, warnings=(SEEN,))) for sample, result in rows[:3]]
    first, second = write(tmp_path / "a.csv", marked, rows[3:]), write(tmp_path / "b.csv", rows)
    for command in (("versus", first, second), ("cross", first)):
        said = dfbench(*command)
        assert said.exit_code == 0
        assert said.stderr.count("3 files are of groups that trained the detector (seen in training)") == 1
        assert "b.csv" not in said.stderr


def test_independent_files_are_compared_by_delong_and_frames_by_groups(tmp_path):
    alone, frames = judged(200, 1.0, 1), judged(200, 1.0, 2, source="clips", videos=20)
    better = [judged(200, 2.0, 3), judged(200, 2.0, 4, source="clips", videos=20)]
    first, second = write(tmp_path / "a.csv", alone, frames), write(tmp_path / "b.csv", *better)
    found = {row.source: row for row in scores.versus(first, second)}
    for name, before, after in (("set", alone, better[0]), ("clips", frames, better[1])):
        fake = np.array([sample.is_fake for sample, _ in before])
        one, two = (np.array([result.p_fake for _, result in rows]) for rows in (before, after))
        groups = [sample.group for sample, _ in before]
        assert found[name].difference == significance.auc_difference(fake, one, two, groups)
        assert found[name].second - found[name].first == pytest.approx(found[name].difference.value)
    assert (found["set"].difference.method, found["clips"].difference.method) == ("DeLong", "bootstrap")


def test_pictures_and_videos_of_one_source_are_never_in_one_figure(tmp_path):
    pictures, videos = judged(40, 1.0, 1), judged(40, 1.0, 2, suffix=".mp4")
    file = write(tmp_path / "a.csv", pictures, videos)
    found = scores.versus(file, file)
    assert [(row.level, row.real, row.fake) for row in found] == [("pictures", 20, 20), ("videos", 20, 20)]
    metadata = tmp_path / "people.csv"
    metadata.write_text("path,side\n" + "".join(f"{sample.name},left\n" for sample, _ in pictures + videos))
    divided, _ = scores.subgroups(pictures + videos, metadata, "side", Path(), 0.5)
    assert {level: rows[0].real for level, rows in divided.items()} == {"pictures": 20, "videos": 20}
    assert dfbench("cross", file).stdout.count(": AUC") == 2


def test_versus_prints_and_writes_what_it_found(tmp_path):
    first, second = write(tmp_path / "a.csv", judged(80, 0.5, 1)), write(tmp_path / "b.csv", judged(80, 3.0, 1))
    done = dfbench("versus", first, second, "--json", tmp_path / "v.json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads((tmp_path / "v.json").read_text())
    assert row["difference"]["value"] > 0.2
    assert f"{row['difference']['value']:+.3f} [{row['difference']['low']:+.3f}" in done.stdout
    assert "DeLong" in done.stdout
    same = dfbench("versus", first, first, "--json", tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text())[0]["difference"]["p_value"] is None
    assert same.stdout.split()[-3:] == ["+0.000", "–", "DeLong"]


def test_files_without_a_score_are_left_out_of_both_and_counted(tmp_path):
    ours, theirs = judged(40, 1.0, 1), judged(40, 1.0, 2)
    ours[3] = (ours[3][0], Result("x", "no_face", None, (), "d", "trained"))
    theirs[5] = (theirs[5][0], Result("x", "error", None, (), "d", "trained"))
    (row,) = scores.versus(write(tmp_path / "a.csv", ours), write(tmp_path / "b.csv", theirs))
    assert (row.real, row.fake, row.unscored) == (20, 18, 2)


def test_other_files_and_other_labels_are_refused_by_name(tmp_path):
    rows = judged(40, 1.0)
    first = write(tmp_path / "a.csv", rows)
    short = write(tmp_path / "b.csv", rows[2:])
    for pair in ((first, short), (short, first)):
        with pytest.raises(TrainingDataError, match=r"b\.csv: lacks 2 of the 40 files of .*a\.csv: data/set/0\.png"):
            scores.versus(*pair)
    swapped = [(Sample(rows[0][0].path, True, "set", "0-0"), rows[0][1]), *rows[1:]]
    with pytest.raises(TrainingDataError, match=r"1 files have another label.*data/set/0\.png"):
        scores.versus(first, write(tmp_path / "c.csv", swapped))
    done = dfbench("versus", first, short)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "lacks 2" in done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\na,1\n", "no column 'source'"),
        (",".join(COLUMNS_READ) + "\n", "holds no prediction"),
        (",".join(COLUMNS_READ) + "\na,s,g,,1,0.5,fake,\na,s,g,,1,0.5,fake,\n", "row 3: a is there twice"),
        (",".join(COLUMNS_READ) + "\na,s,g,,1,much,fake,\n", "row 2: p_fake is 'much'"),
        (",".join(COLUMNS_READ) + "\na,s,g,,1,1.5,fake,\n", "row 2: p_fake is 1.5"),
        (",".join(COLUMNS_READ) + "\na,s,g,,fake,0.5,fake,\n", "row 2: is no prediction"),
    ],
)
def test_what_is_no_file_of_predictions_is_refused_with_the_place(tmp_path, text, reason):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(TrainingDataError, match=reason):
        read_predictions(tmp_path / "p.csv")


# ── subgroups ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def people(tmp_path):
    """Predictions on files of two skin tones, the detector being blind for one; and their metadata."""
    light, dark = judged(80, 4.0, 1, source="light"), judged(80, 0.0, 2, source="dark")
    file = tmp_path / "people.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "age", "skin_tone"])
        writer.writerows([f"{sample.source}/{sample.path.name}", 30, sample.source] for sample, _ in light + dark[:-1])
        writer.writerow([f"dark/{dark[-1][0].path.name}", 30, ""])
    return light, dark, write(tmp_path / "p.csv", light, dark), file


def test_each_subgroup_has_its_figures_and_the_largest_gap_is_named(people, tmp_path):
    light, dark, predictions, metadata = people
    found, left_out = scores.subgroups(light + dark, metadata, "skin_tone", Path("data"), 0.5)
    rows = {row.source: row for row in found["pictures"]}
    assert left_out == 1
    assert list(rows) == ["dark", "light"]
    fake, score = (np.array(column) for column in zip(*[(s.is_fake, r.p_fake) for s, r in light], strict=True))
    assert rows["light"].metrics["auc"].value == pytest.approx(metrics.roc_auc(fake, score))
    assert rows["light"].metrics["fakes_found"].value == pytest.approx((score[fake == 1] >= 0.5).mean())
    assert rows["light"].metrics["auc"].low > rows["dark"].metrics["auc"].high
    gap = next(gap for gap in scores.gaps(found["pictures"]) if gap.measure == "auc")
    assert (gap.lowest, gap.highest) == ("dark", "light")
    assert gap.gap == pytest.approx(rows["light"].metrics["auc"].value - rows["dark"].metrics["auc"].value)
    arguments = ["subgroups", predictions, metadata, "--column", "skin_tone", "--root", "data"]
    done = dfbench(*arguments, "--json", tmp_path / "s.json")
    assert done.exit_code == 0, done.output
    assert f"largest gap of auc: {gap.gap:.3f}, dark to light" in done.stdout
    assert "1 of 160 files have no skin_tone" in done.stderr
    kept = json.loads((tmp_path / "s.json").read_text())
    assert [row["source"] for row in kept["pictures"]["subgroups"]] == ["dark", "light"]


def test_a_missing_column_and_metadata_of_other_files_are_named(people):
    _, _, predictions, metadata = people
    done = dfbench("subgroups", predictions, metadata, "--column", "gender", "--root", "data")
    assert done.exit_code == 2
    assert "no column 'gender'; its columns are 'path', 'age', 'skin_tone'" in done.stderr
    done = dfbench("subgroups", predictions, metadata, "--column", "age")
    assert done.exit_code == 2
    assert "--root" in done.stderr


def test_a_variant_is_asked_for_where_none_is_the_picture_as_it_is(tmp_path):
    rows = judged(20, 1.0)
    write_predictions(tmp_path / "p.csv", {"original": rows, "jpeg_50": rows})
    found = read_predictions(tmp_path / "p.csv")
    assert scores.chosen(found, None, tmp_path / "p.csv") == found["original"]
    assert scores.chosen(found, "jpeg_50", tmp_path / "p.csv") == found["jpeg_50"]
    with pytest.raises(TrainingDataError, match="'original', 'jpeg_50'"):
        scores.chosen(found, "jpeg_10", tmp_path / "p.csv")
    del found["original"]
    assert scores.chosen(found, None, tmp_path / "p.csv") == found["jpeg_50"]


# ── crossed sources ──────────────────────────────────────────────────────────────────────────────────────────


def test_crossing_sources_exposes_a_detector_that_knows_the_source(tmp_path):
    """Within each source it tells the classes, but every file of one source scores above every file of the other."""
    dim = [
        (sample, Result("x", "real", result.p_fake / 2, (), "d", "trained"))
        for sample, result in judged(60, 4.0, 1, source="dim")
    ]
    bright = [
        (sample, Result("x", "fake", 0.5 + result.p_fake / 2, (), "d", "trained"))
        for sample, result in judged(60, 4.0, 2, source="bright")
    ]
    found = {pair: estimate.value for pair, estimate in scores.crossed(dim + bright).items()}
    assert min(found["dim", "dim"], found["bright", "bright"]) > 0.98
    assert found["bright", "dim"] == 0.0
    assert found["dim", "bright"] == 1.0
    done = dfbench("cross", write(tmp_path / "p.csv", dim, bright), "--json", tmp_path / "c.json")
    assert done.exit_code == 0, done.output
    kept = {
        (row["real"], row["fake"]): row["value"] for row in json.loads((tmp_path / "c.json").read_text())["pictures"]
    }
    assert kept == pytest.approx(found, abs=1e-4)
    assert "real of \\ fakes of" in done.stdout


def test_a_source_without_reals_has_a_column_and_no_row():
    fakes = [pair for pair in judged(20, 1.0, source="generator") if pair[0].is_fake]
    found = scores.crossed([*judged(20, 1.0), *fakes])
    assert set(found) == {("set", "set"), ("set", "generator")}
