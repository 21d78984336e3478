"""``dfbench train``, ``recipes`` and ``export`` pass on what the user asked for."""

from __future__ import annotations

import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.cli.models import model_of
from deepfake_bench.records.dataset import PLUMBING
from deepfake_core.contract.detector import DetectorConfig
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.discovery import plugins
from deepfake_core.errors import ArtifactCorrupt
from deepfake_core.loading import load as loading
from deepfake_core.runtimes import torch as torch_runtime
from deepfake_core.training import held_out
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.presets import PRESETS
from deepfake_core.training.recipes.yaml_files import to_yaml
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, manifest_of


class StubConfig(DetectorConfig):
    image_size: int = 64


class StubDetector:
    Config = StubConfig
    recipes: ClassVar = {"default": TrainRecipe(), "smoke": TrainRecipe(phases=(Phase(steps=2),))}
    configs: ClassVar = {"two-phase": {"image_size": 32}}

    def __init__(self, config: StubConfig) -> None:
        self.config = config


class Stub:
    """Stands for a loaded detector and remembers what was asked of it."""

    manifest = SimpleNamespace(
        name="stub", version="7", architecture="stub", weights="trained", preprocess=SimpleNamespace(clip=None)
    )

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.detector = StubDetector(StubConfig())

    def train(self, data, on_start, **options):
        on_start()
        self.asked = {"data": data, **options}
        return self

    def export(self, format, precision, *, out, **options):
        self.asked = {"format": format, "precision": precision, **options}
        return out

    def stream(self, paths, keep_crops, **options):
        assert keep_crops
        face = SimpleNamespace(crop=np.zeros((8, 8, 3), np.uint8))
        return (SimpleNamespace(faces=() if "00" in Path(path.name).name else (face,)) for path in paths)


@pytest.fixture
def stub(monkeypatch):
    stub = Stub()

    def load(name, **options):
        stub.loaded = (name, options)
        stub.detector = StubDetector(StubConfig(**(options.get("config") or {})))
        return stub

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return stub


def write_ended_run(folder):
    """The folder of a run that has ended, as far as a model is named by it."""
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text("detector: stub\n")
    preprocess = PreprocessSpec(resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))
    manifest = manifest_of(
        name="stub", architecture="stub", preprocess=preprocess, weights="trained", metrics={"validation": {"step": 4}}
    )
    (folder / "model" / "manifest.json").write_text(manifest.model_dump_json())


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# ── train ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_train_changes_single_settings_of_a_recipe_and_shows_all_of_them(stub, tmp_path):
    run = ("train", "stub", "--data", "csv:faces.csv", "--run-dir", tmp_path / "run", "--recipe", "smoke")
    changes = ("phases.0.lr=1e-2", "pairs.pseudo.labelled=0", "precision=bf16")
    done = invoke(*run, *(word for change in changes for word in ("--set", change)))
    assert done.exit_code == 0, done.output
    assert stub.loaded == ("stub", {"untrained": True})
    expected = changed(StubDetector.recipes["smoke"], changes)
    assert stub.asked["recipe"] == expected
    assert stub.asked["run_dir"] == tmp_path / "run"
    assert stub.asked["data"] == "csv:faces.csv"
    assert to_yaml(expected) in done.stderr
    assert done.stdout == f"trained stub 7: {tmp_path / 'run' / 'model'}\n"


def test_a_recipe_may_bring_hyper_parameters(stub, tmp_path):  # 003-14
    train = ("train", "stub", "--data", "a", "--run-dir", tmp_path / "run", "--recipe", "two-phase")
    assert invoke(*train).exit_code == 0
    assert stub.loaded == ("stub", {"untrained": True, "config": {"image_size": 32}})
    assert invoke(*train, "--set", "config.image_size=48").exit_code == 0
    assert stub.loaded == ("stub", {"untrained": True, "config": {"image_size": 48}}), "--set goes on top"


def test_train_hands_on_everything_that_was_asked_for(stub, tmp_path):
    (tmp_path / "sources.toml").write_text("source = []\n")
    done = invoke(
        *("train", "stub", "--data", "a", "--valid", "b", "--test", "c", "--run-dir", tmp_path / "run"),
        *("--device", "cpu", "--cache-dir", tmp_path / "cache", "--track", "tensorboard", "--track", "wandb:faces"),
        *("--sources", tmp_path / "sources.toml", "--overfit", 8, "--explain", 0, "--download", "--allow-seen"),
    )
    assert done.exit_code == 0, done.output
    recipe = stub.asked.pop("recipe")
    assert (recipe.overfit, recipe.explain) == (8, 0)  # 003-18, 001-11
    assert stub.asked == {
        "data": "a",
        "download": True,
        "valid": "b",
        "test": "c",
        "run_dir": tmp_path / "run",
        "device": "cpu",
        "tries": None,
        "cache_dir": tmp_path / "cache",
        "track": ["tensorboard", "wandb:faces"],
        "resume": False,
        "start": None,
        "allow_seen": True,
        "stop_at": None,
        "terms": (),
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--stop-at", "2020-01-01T20:30"), "--stop-at 2020-01-01T20:30: is in the past"),
        (("--stop-at", "tonight"), "--stop-at tonight: is no time of the day such as 20:30"),
        (("--minutes", "0"), "--minutes 0: must be a number above 0"),
        (("--minutes", "5", "--stop-at", "20:30"), "give one of them"),
        (("--set", "phases.0.minutes=0"), "--set: phases.0.minutes: Input should be greater than 0"),
    ],
)
def test_a_run_that_cannot_end_on_time_does_not_begin(stub, tmp_path, options, words):
    done = invoke("train", "stub", "--data", "a", "--run-dir", tmp_path / "run", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not stub.asked


def test_the_end_of_a_run_is_a_moment(stub, tmp_path):
    now = datetime.now().astimezone()
    assert invoke("train", "stub", "--data", "a", "--run-dir", tmp_path / "run", "--minutes", 30).exit_code == 0
    assert timedelta(minutes=30) <= stub.asked["stop_at"] - now < timedelta(minutes=40)
    assert invoke("train", "stub", "--data", "a", "--run-dir", tmp_path / "run", "--stop-at", "20:30").exit_code == 0
    moment = stub.asked["stop_at"] + timedelta(seconds=1)  # the time of day is read twice
    assert (moment.hour, moment.minute) == (20, 30)


def test_a_smoke_run_is_the_recipe_in_small(stub, tmp_path):  # 001-30
    assert invoke("train", "stub", "--data", "a", "--smoke-run", "--recipe", "two-phase").exit_code == 0
    assert stub.asked["recipe"] == PRESETS["two-phase"].smoke()


def test_a_recipe_may_be_a_file_and_the_run_is_named_after_it(stub, tmp_path):
    (tmp_path / "mine.yaml").write_text("base: two-phase\nbatch_size: 8\n")
    assert invoke("train", "stub", "--data", "a", "--recipe", tmp_path / "mine.yaml").exit_code == 0
    assert stub.asked["recipe"] == changed(PRESETS["two-phase"], ["batch_size=8"])
    assert re.fullmatch(r"stub-mine-\d{8}-\d{6}", stub.asked["run_dir"].name)
    assert stub.asked["run_dir"].parent == Path("runs")


def test_hyper_parameters_of_the_detector_are_changed_too(stub):
    done = invoke("train", "stub", "--data", "a", "--set", "config.image_size=96", "--set", "seed=3")
    assert done.exit_code == 0, done.output
    assert stub.loaded == ("stub", {"untrained": True, "config": {"image_size": 96}})
    assert stub.asked["recipe"] == changed(TrainRecipe(), ["seed=3"])
    assert "image_size: 96" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--recipe", "slow"), "default, smoke, two-phase"),
        (("--set", "stesp=3"), "unknown setting stesp"),
        (("--set", "seed"), "not KEY=VALUE"),
        (("--set", "batch_size=-3"), "batch_size: Input should be greater"),
        (("--set", "pairs.pseudo.nothing=3"), "pairs.pseudo.nothing"),
        (("--set", "seed.x=3"), "seed is one value, 42"),
        (("--set", "config.size=3"), "--set config: unknown setting size; there are: image_size"),
        (("--resume",), "--run-dir RUN"),
    ],
)
def test_a_wrong_setting_is_named(stub, options, words):
    done = invoke("train", "stub", "--data", "a", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not stub.asked


def test_a_folder_without_a_run_is_named_where_one_is_to_go_on(stub, tmp_path):
    done = invoke("train", "stub", "--run-dir", tmp_path, "--resume")
    assert done.exit_code == 2
    assert f"{tmp_path}: holds no run that could go on" in done.stderr
    assert not stub.asked


def test_data_is_needed_unless_a_run_knows_it(stub, tmp_path):
    done = invoke("train", "stub", "--run-dir", tmp_path)
    assert done.exit_code == 2
    assert "--data NAME:PATH" in done.stderr


def write_run(folder: Path, recipe: TrainRecipe, **more: object) -> None:
    settings = {"detector": "stub", "config": {"image_size": 96}, "recipe": recipe.model_dump(mode="json"), **more}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


def test_a_run_goes_on_with_what_it_began_with(stub, tmp_path):  # 001-24, 003-13
    recipe = changed(PRESETS["two-phase"], ["seed=5", "phases.1.lr.backbone=2e-6"])
    write_run(tmp_path, recipe, data="csv:faces.csv", valid="csv:held_out.csv", test=None)
    done = invoke("train", "stub", "--run-dir", tmp_path, "--resume")
    assert done.exit_code == 0, done.output
    assert stub.loaded == ("stub", {"untrained": True, "config": {"image_size": 96}})
    assert stub.asked["recipe"] == recipe
    assert stub.asked["resume"] is True
    assert (stub.asked["data"], stub.asked["valid"], stub.asked["test"]) == ("csv:faces.csv", "csv:held_out.csv", None)
    # The command that began the run, with --resume at its end, goes on as well.
    changes = ("--recipe", "two-phase", "--set", "seed=5", "--set", "phases.1.lr.backbone=2e-6")
    done = invoke("train", "stub", "--run-dir", tmp_path, "--data", "moved", *changes, "--resume")
    assert done.exit_code == 0, done.output
    assert stub.asked["data"] == "moved"


def test_a_run_goes_on_with_other_settings_of_the_machine(stub, tmp_path):
    write_run(tmp_path, TrainRecipe(), data="a")
    changes = ("workers=0", "compile=true", "checkpointing=true")
    done = invoke(
        "train", "stub", "--run-dir", tmp_path, "--resume", *(word for one in changes for word in ("--set", one))
    )
    assert done.exit_code == 0, done.output
    assert stub.asked["recipe"] == changed(TrainRecipe(), changes)
    refused = invoke("train", "stub", "--run-dir", tmp_path, "--resume", "--set", "workers=0", "--set", "batch_size=8")
    assert refused.exit_code == 2
    assert "batch_size: 32 → 8; only settings of the machine may (workers, compile" in refused.stderr
    assert "workers: " not in refused.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "seed=6"), "seed: 42 → 6"),
        (("--recipe", "two-phase"), "batch_size: 32 → 64"),
        (("--set", "config.image_size=128"), "config.image_size: 96 → 128"),
    ],
)
def test_a_run_does_not_go_on_with_something_else(stub, tmp_path, options, words):
    write_run(tmp_path, TrainRecipe(), data="a")
    done = invoke("train", "stub", "--run-dir", tmp_path, "--resume", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "another --run-dir" in done.stderr
    assert not stub.asked


def test_a_run_of_another_detector_is_not_gone_on_with(stub, tmp_path):
    write_run(tmp_path, TrainRecipe(), data="a")
    done = invoke("train", "other", "--run-dir", tmp_path, "--resume")
    assert done.exit_code == 2
    assert "dfbench train stub" in done.stderr


def test_a_run_that_was_cut_off_at_once_begins_again(stub, tmp_path):
    done = invoke("train", "stub", "--data", "a", "--run-dir", tmp_path / "new", "--resume")
    assert done.exit_code == 0, done.output
    assert stub.asked["recipe"] == TrainRecipe()


def test_of_several_processes_one_speaks_and_all_share_a_folder(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    refused = invoke("train", "stub", "--data", "a")
    assert refused.exit_code == 2
    assert "--run-dir" in refused.stderr
    done = invoke("train", "stub", "--data", "a", "--run-dir", tmp_path / "run")
    assert (done.exit_code, done.output) == (0, "")


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def spec(monkeypatch):
    monkeypatch.setattr(plugins, "detector_spec", lambda name: SimpleNamespace(install="stub[torch]"))
    monkeypatch.setattr(torch_runtime, "make_detector", lambda spec: StubDetector(StubConfig()))


@pytest.mark.parametrize("command", [("recipes", "stub"), ("train", "stub", "--list-recipes")])
def test_recipes_are_listed(spec, command):
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["recipe", "default", "smoke", *PRESETS]
    assert "head 3 epochs, then fine-tune 5 epochs" in done.stdout
    assert "all 2 steps" in done.stdout


def test_a_recipe_is_printed_as_a_file_that_train_takes(spec, tmp_path):
    done = invoke("recipes", "stub", "two-phase", "--set", "seed=3")
    assert done.exit_code == 0, done.output
    (tmp_path / "mine.yaml").write_text(done.stdout)
    assert invoke("recipes", "stub", tmp_path / "mine.yaml").stdout == done.stdout
    assert done.stdout == to_yaml(changed(PRESETS["two-phase"], ["seed=3"]))
    assert "name it" in invoke("recipes", "stub", "--set", "seed=3").stderr


# ── export ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_export_takes_a_run_and_labelled_crops(stub, tmp_path):
    write_ended_run(tmp_path)
    done = invoke("export", tmp_path, "--out", tmp_path / "m.onnx", "--precision", "int8", "--data", PLUMBING.path)
    assert done.exit_code == 0, done.output
    assert stub.loaded == (str(tmp_path), {"backend": "torch", "weights": None, "download": False})
    assert stub.asked["precision"] == "int8"
    assert stub.asked["calibration_images"].shape == (22, 8, 8, 3)  # two of 24 showed no face
    assert stub.asked["labels"].tolist() == [1] * 11 + [0] * 11
    assert done.stderr.startswith(f"warning: stub, {PLUMBING.path}: on 11 real and 11 fake pictures a single one can")
    whole = invoke("export", tmp_path, "--out", tmp_path / "m.onnx", "--data", PLUMBING.path)
    assert (whole.exit_code, whole.stderr) == (0, "")  # judgement on them decides nothing


def test_a_folder_does_not_hide_a_detector_of_its_name(stub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lite", "mine"):
        write_ended_run(tmp_path / name)
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(plugins, "detectors", lambda: {"lite": None})
    assert model_of("lite") == "lite"
    assert model_of("mine") == "./mine"
    assert model_of("./lite") == "./lite"
    assert model_of("empty") == "empty"


@pytest.mark.parametrize("named", [".", "model/"])
def test_a_run_with_a_later_model_than_its_best_says_which_is_taken(named, tmp_path, monkeypatch, capsys):
    write_ended_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics_log.csv").write_text("step,auc\n2,0.5\n4,0.75\n")
    assert Path(model_of(named)) == Path(named)
    assert capsys.readouterr().err == ""
    (tmp_path / "metrics_log.csv").write_text("step,auc\n4,0.75\n6,0.5\n")
    model_of(named)
    assert capsys.readouterr().err == ".: takes the model of its best validation, step 4; the last one was step 6\n"
    (tmp_path / "model" / "manifest.json").unlink()
    with pytest.raises(ArtifactCorrupt, match=r"has not ended.*dfbench train stub --run-dir \. --resume"):
        model_of(".")


def test_int8_of_a_run_takes_what_the_run_held_out(stub, tmp_path, monkeypatch):
    write_ended_run(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    held = ValidationSet(images, np.array([0, 1, 0, 1, 1], np.float32), np.full(5, "a"), list("abcde"))
    monkeypatch.setattr(held_out, "validation_of_run", lambda detector, run: held if run == tmp_path else None)
    monkeypatch.setattr("deepfake_exports.calibration_images.HELD_OUT", 3)
    out = ("--out", tmp_path / "m.onnx")
    assert invoke("export", tmp_path, *out, "--precision", "int8").exit_code == 0
    np.testing.assert_array_equal(stub.asked["calibration_images"], images[[0, 2, 4]])
    assert stub.asked["labels"].tolist() == [0, 0, 1]
    assert invoke("export", tmp_path, *out).exit_code == 0
    assert "labels" not in stub.asked
    assert invoke("export", tmp_path / "model", *out, "--precision", "int8").exit_code == 0
    assert "labels" in stub.asked, "the model of a run belongs to the run"


TINY = Path(__file__).parents[1] / "tiny.onnx"


def test_an_export_is_laid_out_for_a_model_server(stub, tmp_path, monkeypatch):
    def export(format, precision, *, out):
        assert (format, precision) == ("onnx", "fp16-storage")
        return shutil.copyfile(TINY, out)

    monkeypatch.setattr(stub, "export", export)
    done = invoke("export", "stub", "--precision", "fp16-storage", "--layout", "triton", "--out", tmp_path / "models")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["wrote", str(tmp_path / "models" / "tiny")]
    assert (tmp_path / "models" / "tiny" / "1" / "model.onnx").read_bytes() == TINY.read_bytes()


def test_an_onnx_file_is_laid_out_as_it_is(stub, tmp_path):
    done = invoke("export", TINY, "--layout", "triton", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert not hasattr(stub, "loaded"), "nothing is loaded, so no torch is needed"
    assert (tmp_path / "tiny" / "1" / "model.onnx").read_bytes() == TINY.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("stub", "--layout", "tirton"), "'tirton' is not one of 'triton', 'mlflow'; did you mean 'triton'?"),
        (("stub", "--layout", "triton", "--format", "openvino"), "leave out --format openvino"),
        ((TINY, "--layout", "triton", "--precision", "int8"), "is copied unchanged"),
        ((TINY.with_name("gone.onnx"), "--layout", "mlflow"), "no such file"),
    ],
)
def test_what_cannot_be_laid_out_is_said_at_once(stub, tmp_path, options, words):
    done = invoke("export", *options, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert not hasattr(stub, "loaded")
    assert not (tmp_path / "out").exists()
