"""``dfbench runs``: what users see of their runs, and what tidying leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_core.data.audit.result import Auc, Finding, Shortcuts, SourceAudit
from deepfake_core.discovery.artifacts import read_package, write_package
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.runs import listing, locks
from deepfake_core.training.runs.archive import archive
from deepfake_core.training.runs.entries import entry_of
from deepfake_core.training.runs.prune import prune, to_prune
from deepfake_core.training.runs.record import RunRecord
from deepfake_core.training.runs.rundir import RunDir
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage, manifest_of

ROOT = Path(__file__).parents[3]
SPEC = PreprocessSpec(
    crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
)


def invoke(*arguments):
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


def make_run(folder, auc, *, seed=1, finished=True, fingerprint="f1"):
    """A run as training leaves it, with a packaged model that holds the run's name."""
    recipe = {"seed": seed, "monitor": "auc", "mode": "max"}
    with RunDir(folder) as run, run.log_file():
        run.start({"detector": "bright", "recipe": recipe}, {"data": "sample:", "fingerprint": fingerprint})
        run.write_metrics([{"step": 4, "loss": 0.7, "auc": auc - 0.1}, {"step": 8, "loss": 0.6, "auc": auc}])
        run.last.write_bytes(bytes(2_000_000))
        run.best.write_text(folder.name)
        if finished:
            manifest = manifest_of(
                name="bright", architecture="bright", preprocess=SPEC, weights="trained", version="1"
            )
            write_package(run.model, manifest, {"safetensors": run.best})
            run.finish({"test_metrics": {"auc": auc - 0.05, "accuracy": 0.75}})
            RunRecord(folder.parent).add(entry_of(folder))
    return folder


@pytest.fixture(scope="session")
def all_runs(tmp_path_factory):
    runs = tmp_path_factory.mktemp("all") / "runs"
    for number, (name, auc) in enumerate((("a", 0.8), ("b", 0.9), ("c", 0.7))):
        make_run(runs / name, auc, seed=number)
        edit_json(runs / name / "metrics.json", timestamp=f"2026-01-0{number + 1}T00:00:00+00:00")
    make_run(runs / "half", 0.6, finished=False)
    return runs


@pytest.fixture
def runs(all_runs, tmp_path):
    """Three finished runs, ``c`` the latest, and one that was cut off."""
    return shutil.copytree(all_runs, tmp_path / "runs")


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_list_shows_the_best_metric_and_the_status(runs):
    with RunDir(runs / "now") as now:
        now.start({"detector": "bright", "recipe": {}}, {})
        done = invoke("list", runs)
    assert done.exit_code == 0, done.output
    lines = {line[:8].strip(" *"): line for line in done.output.splitlines()}
    assert re.search(r"^\* b +bright +finished +auc 0.9000 +8 +2\.\d MB +2026-01-0[12] ", lines["b"])
    assert "interrupted" in lines["half"]
    assert "running" in lines["now"]
    assert re.search(r"5 runs, 8\.\d MB; .+ free on the disk", done.output)
    listed = {run["run"]: run for run in json.loads(invoke("list", runs, "--json").output)}
    assert sorted(listed) == ["a", "b", "c", "half", "now"]
    assert listed["b"]["value"] == 0.9
    assert listed["b"]["last_bytes"] == 2_000_000


def test_a_damaged_run_hides_no_others(runs):
    (runs / "a" / "metrics.json").write_text("{")
    (runs / "b" / "config.yaml").write_bytes(b"\xff")
    (runs / "model_metadata.json").write_text("{")
    done = invoke("list", runs)
    assert done.exit_code == 0
    assert done.stdout.count("damaged") == 2
    assert "metrics.json: cannot be read" in done.stderr
    assert "model_metadata.json: cannot be read" in done.stderr


def test_nothing_to_list_is_said_so(tmp_path):
    assert "no runs" in invoke("list", tmp_path).stderr
    wrong = invoke("list", tmp_path / "nowhere")
    assert (wrong.exit_code, "no such folder" in wrong.stderr) == (2, True)


def test_show(runs):
    assert "training: " not in invoke("show", runs / "b").output, "a run of an earlier version"
    taken = {"steps": 1200, "images": 38400, "seconds": 1740.2, "bit_reproducible": False}
    edit_json(runs / "b" / "metrics.json", training=taken)
    done = invoke("show", runs / "b")
    assert done.exit_code == 0, done.output
    assert "training: 1,200 steps, 38,400 images, 29 min; it cannot be repeated bit by bit\n" in done.output
    for part in ("finished, best auc 0.9000, step 8", "test: auc 0.8500, accuracy 0.7500", "recipe.seed", "last.pt"):
        assert part in done.output
    assert "resume state" in done.output
    assert "holds no run" in invoke("show", runs).stderr


def test_show_says_what_tells_the_classes_of_the_samples_apart(runs):
    assert "shortcuts" not in invoke("show", runs / "b").output.split("config.yaml")[0]
    chance = Auc(0.5, 0.4, 0.6, is_certain=False)
    sharp = Finding("dfdc", "sharpness_1", Auc(0.61, 0.6, 0.62, is_certain=True))
    data = Shortcuts((SourceAudit("dfdc", 9, 9, findings=(sharp,), together=sharp.auc),))
    drawn = Shortcuts((SourceAudit("dfdc", 9, 9, together=chance), SourceAudit("blend", 9, 9, problem="few")))
    write_atomic(runs / "b" / "shortcuts.json", json.dumps({"data": data.to_dict(), "drawn": drawn.to_dict()}))
    output = invoke("show", runs / "b").output
    assert re.search(rf"dfdc +0.61 {sharp.called} +0.61 +– +0.50", output)
    assert re.search(r"blend +– +– +– +–", output)
    edit_json(runs / "b" / "shortcuts.json", data=None)
    assert re.search(r"dfdc +– +– +– +0.50", invoke("show", runs / "b").output)


def test_compare_names_what_differs(runs):
    make_run(runs / "other", 0.99, seed=0, fingerprint="f2")
    done = invoke("compare", runs / "a", runs / "b")
    rows = {line.split("  ")[0].strip(): line.split()[-2:] for line in done.stdout.splitlines()}
    assert rows["best auc"] == ["0.8000", "0.9000"]
    assert rows["test accuracy"] == ["0.7500", "0.7500"]
    assert rows["recipe.seed"] == ["0", "1"]
    assert "recipe.mode" not in rows
    assert not done.stderr
    assert "cannot be compared" in invoke("compare", runs / "a", runs / "other").stderr
    assert invoke("compare", runs / "a").exit_code == 2


# 001-33
def test_prune_deletes_resume_states_of_finished_runs_only_when_told(runs):
    (runs / "a" / "cache").mkdir()
    (runs / "a" / "cache" / "crops.bin").write_bytes(bytes(1_000_000))
    (runs / "b" / "cache").symlink_to(runs / "a" / "model")
    dry = invoke("prune", runs, "--keep", 1)
    assert dry.output.splitlines()[:2] == ["would prune b: 2.0 MB", "would prune a: 2.0 MB"]
    assert "would free 4.0 MB; add --yes to delete them" in dry.output
    assert (runs / "a" / "last.pt").exists()
    done = invoke("prune", runs, "--keep", 1, "--yes", "--cache")
    assert "2 runs, freed 5.0 MB" in done.output
    assert [name for name in ("a", "b", "c", "half") if (runs / name / "last.pt").exists()] == ["c", "half"]
    assert not (runs / "a" / "cache").exists()
    assert (runs / "a" / "model" / "manifest.json").exists(), "a link is not followed"
    assert "0 runs" in invoke("prune", runs, "--keep", 1, "--yes").output


# 001-33
def test_a_run_that_is_written_is_not_pruned(runs, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.1)
    found = listing.describe(runs / "a")
    with RunDir(runs / "a", resume=True):
        assert to_prune([listing.describe(runs / "a")], 0) == []
        with pytest.raises(DeepfakeError, match="another process"):
            prune(found)
    assert (runs / "a" / "last.pt").exists()


# 004-10
def test_an_archive_holds_model_settings_metrics_and_readme(runs, tmp_path):
    done = invoke("archive", runs / "b", "--out", tmp_path / "b.zip")
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(tmp_path / "b.zip") as found:
        assert found.testzip() is None
        names = found.namelist()
        readme = found.read("b/README.md").decode()
        found.extractall(tmp_path / "out")
    assert {"b/README.md", "b/config.yaml", "b/metrics.json", "b/metrics_log.csv", "b/model/manifest.json"} <= set(
        names
    )
    assert not [name for name in names if "run.log" in name or "last.pt" in name or ".lock" in name]
    assert "| validation auc (best) | 0.9000 |" in readme
    assert "| test accuracy | 0.7500 |" in readme
    assert read_package(tmp_path / "out" / "b" / "model").artifact("safetensors").path.read_text() == "b"


# 004-10
def test_the_same_run_gives_the_same_archive(runs, tmp_path):
    for path in (runs / "b").rglob("*"):
        os.utime(path, (1e9, 1e9))
    first = archive(runs / "b", tmp_path / "1.zip", everything=True).read_bytes()
    for path in (runs / "b").rglob("*"):
        path.chmod(0o755)
        os.utime(path, (1.5e9, 1.5e9))
    assert archive(runs / "b", tmp_path / "2.zip", everything=True).read_bytes() == first
    assert {"b/run.log", "b/last.pt"} <= set(zipfile.ZipFile(tmp_path / "1.zip").namelist())


def test_an_archive_takes_nothing_from_elsewhere_and_not_itself(runs, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (runs / "b" / "model" / "link").symlink_to(tmp_path / "secret" / "key")
    (runs / "b" / "explain").symlink_to(tmp_path / "secret")
    for _ in range(2):
        out = archive(runs / "b", runs / "b" / "b.zip", everything=True)
    with zipfile.ZipFile(out) as found:
        assert not [name for name in found.namelist() if "link" in name or "key" in name or name.endswith(".zip")]


def test_a_run_without_a_model_is_not_archived(runs, tmp_path):
    (runs / "half" / "best.safetensors").unlink()
    done = invoke("archive", runs / "half", "--out", tmp_path / "x.zip")
    assert (done.exit_code, "no model yet" in done.stderr) == (2, True)
    with RunDir(runs / "a", resume=True):
        assert "still being written" in invoke("archive", runs / "a", "--out", tmp_path / "x.zip").stderr
    assert not (tmp_path / "x.zip").exists()


# 001-33
def test_deleted_runs_leave_the_record_when_told(runs):
    (runs / "c").rename(runs.parent / "c")
    assert "would forget c" in invoke("clean", runs).output
    assert "c" in RunRecord(runs).read().runs
    assert "forgot c" in invoke("clean", runs, "--yes").output
    assert sorted(RunRecord(runs).read().runs) == ["a", "b"]


# 001-15, 001-16
def test_a_lost_record_is_made_again(runs):
    (runs / "model_metadata.json").unlink()
    assert "promoted to" in invoke("record", runs / "a").output
    assert "beats 0.8000 of a" in invoke("record", runs / "b").output
    assert sorted(RunRecord(runs).read().runs) == ["a", "b"]
    assert "has not finished" in invoke("record", runs / "half").stderr


def test_names_cannot_steer_a_terminal(runs):
    (runs / "a").rename(runs / "a\x1b[31m")
    assert "\x1b" not in invoke("list", runs).output


def test_every_file_of_a_run_is_documented(runs):
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    for name in listing.FILES:
        assert f"`{name}`" in page, name
    for path in (runs / "b").iterdir():
        known = path.name if path.is_file() else f"{path.name}/"
        assert known in listing.FILES or known == ".lock", path


def test_the_python_of_the_page_runs(runs, monkeypatch):
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (runs / "b").rename(runs / "mine")
    monkeypatch.chdir(runs.parent)
    found = {}
    exec(code, found)
    assert found["history"][-1]["auc"] == 0.9
    assert found["settings"]["detector"] == "bright"
    assert found["best"]["bright/f1-auc"].run == "b"
