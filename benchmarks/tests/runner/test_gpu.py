"""The measurement of a machine with a GPU: its order, its limits of time, and what a run that is cut off leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gpu_pack
from deepfake_bench.records.report import parse_report, schema
from deepfake_bench.runner import gpu, launcher
from deepfake_bench.runner.gpu import NOT_REACHED, GpuRun, planned
from deepfake_bench.runner.plan import unmeasured
from deepfake_core.discovery import plugins

GPU = Path(__file__).parents[2] / "gpu.sh"
SIX = ("cvt", "dualstream", "lite", "radar", "siglip", "unet")


def test_the_most_telling_comes_first():
    plan = [item.job for item in planned([*SIX, "mine"], device="cuda")]
    whom = [(job.detector, job.scenario) for job in plan]
    assert whom[:2] == [("lite", "train_throughput"), ("radar", "train_throughput")]
    assert all(job.parts == ("ready", "compiled", "pairs", "store", "shares", "agreement") for job in plan[:2])
    assert {name for name, _ in whom[2:7]} == {"cvt", "dualstream", "siglip", "unet", "mine"}
    latency = whom.index(("siglip", "single_stream"))
    ratio = next(place for place, job in enumerate(plan) if job.parts == ("cpu",))
    assert 6 < latency < ratio < whom.index(("lite", "offline"))
    assert {name for name, scenario in whom if scenario == "single_stream"} == {*SIX, "mine"}
    assert {job.device for job in plan} == {"cuda"}


def test_every_target_for_a_gpu_is_in_the_plan():  # 000-11, 002-12, 003-15, 004-12
    plan = [item.job for item in planned(SIX, device="cuda")]
    made = {(job.detector, job.scenario, job.recipe) for job in plan}
    wanted = {
        (name, target.scenario, recipe)
        for name, item in plugins.detectors().items()
        for target in item.spec.targets
        if "GPU:" in target.condition
        for recipe in [target.condition.partition("recipe: ")[2] or "default"]
    }
    assert wanted <= made
    assert {name for name, *_ in wanted} == {"dualstream", "lite", "radar", "siglip", "unet"}


def measuring(monkeypatch, meanwhile):
    """Replace the launch of a measurement: it notes what it was given, and finds nothing. ``meanwhile`` is called."""
    launched = []

    def launch(job, *, seconds, started):
        launched.append((job, seconds))
        meanwhile()
        return unmeasured(job, "failed", "no device")

    monkeypatch.setattr(gpu, "launch", launch)
    return launched


def test_a_run_keeps_to_its_time_and_names_what_it_did_not_reach(monkeypatch, tmp_path):
    hands = [0.0, 100.0, 118.0]  # too little is left then for a third one
    monkeypatch.setattr(gpu.time, "monotonic", lambda: hands[0])
    launched = measuring(monkeypatch, lambda: hands.pop(0))
    run = GpuRun(planned(["lite", "radar", "unet"], device="cuda")[:3], tmp_path / "gpu.json", minutes=2)
    assert len(list(run.run())) == 2
    assert [seconds for _, seconds in launched] == [120, 20]
    report = parse_report((tmp_path / "gpu.json").read_bytes(), "gpu.json")
    assert [(row.detector, row.status) for row in report.measurements] == [
        ("lite", "failed"), ("radar", "failed"), ("unet", "skipped"),
    ]  # fmt: skip
    assert report.measurements[-1].reason == NOT_REACHED


def test_a_run_that_is_stopped_begins_nothing_more(monkeypatch, tmp_path):
    run = GpuRun(planned(["lite", "radar"], device="cuda"), tmp_path / "gpu.json", minutes=8)
    launched = measuring(monkeypatch, run.stop)
    assert len(list(run.run())) == len(launched) == 1


def test_what_was_measured_before_a_process_ends_counts(measured):
    job = planned(["lite"], device="cuda")[0].job
    row = measured("train_throughput", metrics={"images_per_s_on_device": 3.0}).model_dump_json()
    code = f"import sys, pathlib; pathlib.Path(sys.argv[2]).write_text({row!r}); "
    worker = (sys.executable, "-c")
    found = launcher.launch(job, [*worker, code + "import os; os.abort()"])
    assert (found.status, found.metrics) == ("measured", {"images_per_s_on_device": 3.0})
    assert "SIGABRT" in found.conditions[launcher.ENDED_EARLY]
    late = launcher.launch(job, [*worker, code + "import time; time.sleep(600)"], seconds=2)
    assert late.conditions[launcher.ENDED_EARLY] == "ended after 2 s, its limit"
    nothing = launcher.launch(job, [*worker, "import time; time.sleep(600)"], seconds=0.5)
    assert (nothing.status, nothing.reason) == ("failed", "ended after 0 s, its limit")


def test_an_end_from_outside_leaves_a_whole_report(tiny, tmp_path):
    """The device is a CPU; the first process is ended while it starts."""
    command = [sys.executable, "-m", "deepfake_bench.runner.gpu", "--device", "cpu", "--json", tmp_path / "gpu.json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "gpu.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1].decode()
    report = parse_report((tmp_path / "gpu.json").read_bytes(), "gpu.json")
    assert len(report.measurements) > 20
    assert {row.status for row in report.measurements} <= {"failed", "skipped"}
    assert "were not reached" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--minutes", "0"), "--minutes and --seconds must be positive"),
        (("--device", "tpu"), "gpu.sh: unknown device 'tpu'; use auto, cpu, cuda, cuda:N or mps"),
        (("--device", "cpu", "--json", "nowhere/there/gpu.json"), "nowhere"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(arguments, said, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").touch()
    monkeypatch.setattr(sys, "argv", ["gpu.sh", *arguments])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert said in (ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err)


@pytest.fixture
def pip(monkeypatch):
    """The commands of pip, which are noted and leave a file; one package has no wheel for the other machine."""
    called = []

    def run(*words, check=True):
        called.append(words)
        folder = Path(words[words.index("--wheel-dir" if words[0] == "wheel" else "--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{len(called)}.whl").write_text("wheel")
        return int(words[0] == "download" and words[-1].startswith("platformdirs=="))

    monkeypatch.setattr(gpu_pack, "_pip", run)
    monkeypatch.setattr(gpu_pack.metadata, "version", lambda name: "1.2")
    return called


def test_what_travels_to_a_gpu_is_one_folder(pip, tmp_path, monkeypatch, capsys):
    (tmp_path / "faces.pack").write_text("crops")
    folder = tmp_path / "gpu"
    words = [str(folder), "--python-version", "3.13", "--also", "timm", "--data", str(tmp_path / "faces.pack")]
    for _ in range(2):  # a folder can be filled again
        monkeypatch.setattr(sys, "argv", ["gpu.sh", *words])
        gpu_pack.main()
    assert {path.name for path in folder.iterdir()} == {"gpu.sh", "own", "needs", "faces.pack"}
    assert {path.name for path in (folder / "needs").iterdir()} == {*gpu_pack.NEEDS, "timm"}
    own = pip[0]
    assert [Path(word).name for word in own if "plugins" in word] == [f"deepfake-{name}" for name in SIX]
    assert all("3.13" in words for words in pip if words[0] == "download")
    assert [words[-1] for words in pip if words[0] == "wheel"].count("platformdirs==1.2") == 2
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "cd gpu && sh gpu.sh --json gpu.json --data crops:faces.pack"


def test_a_pack_of_missing_faces_is_refused(pip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.sh", str(tmp_path / "gpu"), "--data", "gone.pack"])
    with pytest.raises(SystemExit):
        gpu_pack.main()
    assert "--data gone.pack: no such file or folder" in capsys.readouterr().err
    assert not pip


@pytest.mark.torch
def test_the_script_runs_to_its_end_on_a_cpu(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = ["sh", GPU, "--device", "cpu", "--tiny", "--json", tmp_path / "gpu.json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "gpu.json").read_bytes())
    jsonschema.validate(content, schema())
    report = parse_report((tmp_path / "gpu.json").read_bytes(), "gpu.json")
    trained, judged = report.measurements
    assert {row.status for row in report.measurements} == {"measured"}
    assert judged.metrics["latency_ms_p50"] > 0
    rates = ("on_device", "pairs", "store")
    assert {f"images_per_s_{rate}" for rate in rates} | {"share_data", "pairs_over_ready"} <= trained.metrics.keys()
    assert 0 < trained.metrics["pairs_difference"] < 1.5
    assert not [text for text in trained.conditions.values() if text.startswith("not measured")]
    assert str(tmp_path.parent) not in json.dumps(content)
