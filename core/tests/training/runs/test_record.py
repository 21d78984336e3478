"""The record of runs and the promoted best: complete, comparable, and whole whoever is killed or races."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap

import pytest

from deepfake_core.discovery.artifacts import read_package, write_package
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.runs.entries import RunEntry, entry_of
from deepfake_core.training.runs.record import RunRecord
from deepfake_core.training.runs.rundir import RunDir
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage, manifest_of

SPEC = PreprocessSpec(
    crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
)


def finished(runs, name, value, detector="bright", fingerprint="f1", **fields):
    """A run's folder with a packaged model whose content is the run's name; gives its entry."""
    file = runs / name / "weights.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(name)
    manifest = manifest_of(name=detector, architecture=detector, preprocess=SPEC, weights="trained", version=name[-8:])
    groups = file.with_name("groups.bin")
    groups.write_text(f"seen by {name}")
    write_package(runs / name / "model", manifest, {"safetensors": file}, groups)
    return RunEntry(run=name, detector=detector, monitor="auc", value=value, fingerprint=fingerprint, **fields)


def best_of(record, key="bright/f1-auc"):
    """Content of the promoted model, verified against its manifest."""
    package = read_package(record.best_folder(key))
    content = package.artifact("safetensors").path.read_text()
    assert package.groups_file().read_text() == f"seen by {content}"
    return content


# 001-15, 001-16
def test_the_best_is_promoted_only_when_it_beats_the_current_one(tmp_path):
    record = RunRecord(tmp_path)
    outcomes = [record.add(finished(tmp_path, name, value)) for name, value in (("a", 0.8), ("b", 0.7), ("c", 0.8))]
    assert [outcome.promoted for outcome in outcomes] == [True, False, False]
    assert "does not beat 0.8000 of a" in outcomes[1].reason
    assert best_of(record) == "a"
    outcome = record.add(finished(tmp_path, "d", 0.9, git="c0ffee", config="d/config.yaml"))
    assert (outcome.promoted, outcome.reason) == (True, "auc 0.9000 beats 0.8000 of a")
    assert outcome.folder == tmp_path / "best" / "bright" / "f1-auc"
    assert best_of(record) == "d"
    found = json.loads((tmp_path / "model_metadata.json").read_text())
    assert sorted(found["runs"]) == ["a", "b", "c", "d"]
    assert found["best"]["bright/f1-auc"]["run"] == "d"
    assert found["runs"]["d"] | {"timestamp": ""} == {
        "run": "d", "detector": "bright", "monitor": "auc", "mode": "max", "value": 0.9, "fingerprint": "f1",
        "config": "d/config.yaml", "git": "c0ffee", "timestamp": "", "model": "", "data": "",
    }  # fmt: skip
    assert found["runs"]["d"]["timestamp"].startswith("20")


def test_other_validation_data_are_not_compared(tmp_path):
    record = RunRecord(tmp_path)
    record.add(finished(tmp_path, "a", 0.99))
    outcome = record.add(finished(tmp_path, "b", 0.6, fingerprint="f2"))
    assert outcome.promoted
    assert "not comparable" in outcome.reason
    assert (best_of(record), best_of(record, "bright/f2-auc")) == ("a", "b")
    record.add(finished(tmp_path, "c", 0.5, detector="dark"))
    assert best_of(record, "dark/f1-auc") == "c"


def test_a_lower_loss_is_better_and_no_number_is_never_best(tmp_path):
    record = RunRecord(tmp_path)
    loss = {"monitor": "loss", "mode": "min"}
    values = [("a", float("nan")), ("b", None), ("c", 0.5), ("d", 0.4), ("e", float("-inf"))]
    entries = [finished(tmp_path, name, value).model_copy(update=loss) for name, value in values]
    assert [record.add(entry).promoted for entry in entries] == [False, False, True, True, False]
    assert best_of(record, "bright/f1-loss") == "d"


def test_a_run_that_finishes_twice_is_recorded_once(tmp_path):
    record = RunRecord(tmp_path)
    record.add(finished(tmp_path, "a", 0.8))
    again = record.add(finished(tmp_path, "a", 0.8))
    assert "already" in again.reason
    assert list(record.read().runs) == ["a"]


RACER = textwrap.dedent(
    """
    import random, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_record import RunRecord, finished
    runs, who = Path(sys.argv[2]), sys.argv[3]
    draw = random.Random(who)
    for number in range(8):
        RunRecord(runs).add(finished(runs, f"{who}-{number}", draw.random()))
    """
)


def race(folder, runs, who):
    return subprocess.Popen([sys.executable, "-c", RACER, str(folder), str(runs), who], stderr=subprocess.PIPE)


def values_of(who):
    draw = random.Random(who)
    return {f"{who}-{number}": draw.random() for number in range(8)}


# 001-16
def test_runs_that_finish_at_once_lose_nothing(tmp_path, request):
    racers = [race(request.path.parent, tmp_path, who) for who in "abc"]
    record = RunRecord(tmp_path)
    while any(racer.poll() is None for racer in racers):
        found = record.read()  # whole at every moment
        for entry in found.best.values():
            assert found.runs[entry.run] == entry
    for racer in racers:
        assert racer.communicate()[1] == b""
    expected = {name: value for who in "abc" for name, value in values_of(who).items()}
    found = record.read()
    assert {name: entry.value for name, entry in found.runs.items()} == expected
    best = max(expected, key=expected.get)
    assert found.best["bright/f1-auc"].run == best
    assert best_of(record) == best


# 001-16, 001-18
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_while_promoting_the_next_run_completes_it(tmp_path, request):
    record = RunRecord(tmp_path)
    record.add(finished(tmp_path, "old", 0.5))
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from deepfake_core.training.runs import record
        from test_record import RunRecord, finished
        copy, point = record.write_package, sys.argv[3]
        def dies(*arguments):
            if point == "after":
                copy(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        entry = finished(Path(sys.argv[2]), f"killed-{point}", 0.8 if point == "before" else 0.9)
        record.write_package = dies
        RunRecord(Path(sys.argv[2])).add(entry)
        """
    )
    for point in ("before", "after"):
        arguments = [str(request.path.parent), str(tmp_path), point]
        done = subprocess.run([sys.executable, "-c", script, *arguments], check=False)
        assert done.returncode == -signal.SIGKILL
        assert record.read().best["bright/f1-auc"].run != f"killed-{point}"
        record.add(finished(tmp_path, f"poor-{point}", 0.1))
        assert record.read().best["bright/f1-auc"].run == f"killed-{point}"
        assert best_of(record) == f"killed-{point}"


def test_a_damaged_record_is_set_aside_and_the_best_is_not_forgotten(tmp_path, caplog):
    record = RunRecord(tmp_path)
    record.add(finished(tmp_path, "good", 0.9))
    record.file.write_text('{"runs": {"good')
    with pytest.raises(DeepfakeError, match=r"model_metadata\.json: cannot be read"):
        record.read()
    with caplog.at_level(logging.WARNING):
        outcome = record.add(finished(tmp_path, "worse", 0.8))
    (aside,) = tmp_path.glob("model_metadata.damaged-*.json")
    assert aside.read_text() == '{"runs": {"good'
    assert aside.name in caplog.text
    assert not outcome.promoted
    assert best_of(record) == "good"


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 2}', "\0", '{"runs": {"x": {"run": "../x"}}}'])
def test_a_strange_record_is_damaged(tmp_path, text):
    (tmp_path / "model_metadata.json").write_text(text)
    with pytest.raises(DeepfakeError, match="cannot be read"):
        RunRecord(tmp_path).read()


def test_a_damaged_model_is_not_promoted(tmp_path, caplog):
    record = RunRecord(tmp_path)
    record.add(finished(tmp_path, "a", 0.5))
    entry = finished(tmp_path, "torn", 0.9)
    (weights,) = (tmp_path / "torn" / "model").glob("*.safetensors")
    weights.write_text("cut")
    assert not record.add(entry).promoted
    assert "run torn cannot be promoted" in caplog.text
    assert best_of(record) == "a"


def test_a_best_model_that_somebody_removed_is_replaced(tmp_path):
    record = RunRecord(tmp_path)
    record.add(finished(tmp_path, "a", 0.9))
    (record.best_folder("bright/f1-auc") / "manifest.json").unlink()
    record.add(finished(tmp_path, "b", 0.8))
    assert best_of(record) == "a"


# 001-33
def test_deleted_runs_are_forgotten_but_not_the_best(tmp_path):
    record = RunRecord(tmp_path)
    for name, value in (("a", 0.9), ("b", 0.8)):
        record.add(finished(tmp_path, name, value))
    for path in sorted((tmp_path / "a").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "a").rmdir()
    assert record.deleted() == ["a"]
    record.forget(record.deleted())
    assert list(record.read().runs) == ["b"]
    assert not record.add(finished(tmp_path, "c", 0.85)).promoted
    assert best_of(record) == "a"


@pytest.mark.parametrize("fields", [{"run": "../x"}, {"run": ".."}, {"detector": "a/b"}, {"fingerprint": "../../x"}])
def test_no_name_leads_out_of_the_folder(fields):
    with pytest.raises(ValueError, match="pattern"):
        RunEntry(**{"run": "a", "detector": "b", "monitor": "auc", **fields})


def test_the_metric_may_bear_the_name_of_any_source(tmp_path):
    entry = finished(tmp_path, "a", 0.9).model_copy(update={"monitor": "auc_../Celeb real"})
    assert RunRecord(tmp_path).add(entry).folder == tmp_path / "best" / "bright" / "f1-auc_.._Celeb_real"
    assert RunRecord(tmp_path).read().runs["a"] == entry


# 001-15
def test_an_entry_comes_from_the_files_of_a_run(tmp_path):
    finished(tmp_path, "first-run", 0.0)
    (tmp_path / "first-run" / "run.log").touch()
    with RunDir(tmp_path / "first-run", resume=True) as run:
        recipe = {"monitor": "val_loss", "mode": "min"}
        run.start({"detector": "bright", "recipe": recipe}, {"data": "sample:", "fingerprint": "ab12"})
        finish = run.finish({})["timestamp"]
        run.write_metrics([{"val_loss": 0.5}, {"val_loss": float("nan")}, {"val_loss": 0.25}, {"val_loss": 0.75}])
    edited = tmp_path / "first-run" / "metrics.json"
    edited.write_text(edited.read_text().replace(finish, "2026-01-01T00:00:00+00:00"))
    entry = entry_of(tmp_path / "first-run")
    assert entry.timestamp == "2026-01-01T00:00:00+00:00", "when it finished, not when it was entered"
    assert entry.model_dump(exclude={"timestamp", "git"}) == {
        "run": "first-run", "detector": "bright", "monitor": "val_loss", "mode": "min", "value": 0.25,
        "fingerprint": "ab12", "config": "first-run/config.yaml", "model": "irst-run", "data": "sample:",
    }  # fmt: skip
    with pytest.raises(DeepfakeError, match="holds no run"):
        entry_of(tmp_path)
