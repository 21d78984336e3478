"""Killed at any moment, a run resumes to the bits of one that was never interrupted; torn files are never loaded."""

import os
import random
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import tiny_run
import torch
from safetensors.torch import load_file
from tiny_run import RECIPE, Bright, Pixels, run

from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.contract.recipe import Optimizer, Phase, Schedule
from deepfake_core.errors import ArtifactCorrupt
from deepfake_core.training.loop import checkpoint
from deepfake_core.training.loop.optim import MovingAverage

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

RECIPES = {
    "two-phase": RECIPE.model_copy(
        update={
            "phases": (
                Phase(name="head", epochs=2, lr={"head": 1e-2}, schedule=Schedule(name="constant", warmup=0.0)),
                Phase(name="tune", epochs=3, lr={"head": 1e-2, "backbone": 1e-3}),
            ),
            "eval_every": None,
            "save_every": 1,
        }
    ),
    "one-cycle": RECIPE.model_copy(
        update={
            "phases": (Phase(epochs=5, lr=1e-2, schedule=Schedule(name="one_cycle", warmup=0.1)),),
            "accumulate": 2,
            "eval_every": 3,
            "label_smoothing": 0.1,
        }
    ),
    "plateau": RECIPE.model_copy(
        update={
            "phases": (Phase(epochs=5, lr=1e-2, schedule=Schedule(name="plateau", patience=0)),),
            "optimizer": Optimizer(name="sgd", sam=0.01),
            "monitor": "val_loss",
            "mode": "min",
            "workers": 1,
            "save_every": 3,
        }
    ),
}


def launch(folder, recipe, *mode):
    return subprocess.run(
        [sys.executable, tiny_run.__file__, str(folder), recipe.model_dump_json(), *map(str, mode)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tiny_run.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def within(folder, recipe):
    """The same run as :func:`launch`, in this process: it need not load torch again."""
    folder.mkdir(exist_ok=True)
    run(folder, recipe, data=Pixels(reads=folder / "reads.csv"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Folder of a whole run, by the name of its recipe."""

    @cache
    def folder(name):
        path = tmp_path_factory.mktemp(name)
        within(path, RECIPES[name])
        return path

    return folder


def assert_same_end(whole, other):
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (whole, other)]
    for part in ("model", "average"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), f"{part} {name}"
    first, second = ({k: v for k, v in state["progress"].items() if "seconds" not in k} for state in states)
    assert first == second
    first, second = (load_file(folder / "best.safetensors") for folder in (whole, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (whole / "metrics_log.csv").read_bytes() == (other / "metrics_log.csv").read_bytes()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_a_random_step_it_ends_with_the_same_bits(tmp_path, uninterrupted, name, seed):  # 001-24, 003-13
    recipe, whole = RECIPES[name], uninterrupted(name)
    steps = torch.load(whole / "last.pt", weights_only=True)["progress"]["step"]
    at = random.Random(f"{name}{seed}").randrange(1, steps)
    cut = tmp_path / "cut"
    assert launch(cut, recipe, "--kill-at-step", at).returncode == -signal.SIGKILL
    before = (cut / "reads.csv").read_text().splitlines()
    (cut / "reads.csv").unlink()
    within(cut, recipe)
    assert_same_end(whole, cut)
    if recipe.workers == 0:  # with workers, reading runs ahead of training
        order = (whole / "reads.csv").read_text().splitlines()
        after = (cut / "reads.csv").read_text().splitlines()
        assert order[: len(before)] == before
        assert order[len(order) - len(after) :] == after


@pytest.mark.parametrize("which", [1, 3])
def test_a_checkpoint_torn_by_the_kill_is_never_loaded(tmp_path, uninterrupted, which):  # 001-18
    recipe = RECIPES["two-phase"]
    cut = tmp_path / "cut"
    assert launch(cut, recipe, "--tear-checkpoint", which).returncode == -signal.SIGKILL
    assert list(cut.glob(".last.pt.*.tmp")), "the kill came while a checkpoint was being written"
    within(cut, recipe)
    assert_same_end(uninterrupted("two-phase"), cut)


def test_a_damaged_checkpoint_is_refused_with_a_remedy(tmp_path):
    run(tmp_path)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactCorrupt, match=r"last\.pt: no readable resume state.*remove the file"):
        run(tmp_path)
    torch.save({"something": "else"}, path)
    with pytest.raises(ArtifactCorrupt, match="no readable resume state"):
        run(tmp_path)


def test_an_optimizer_state_that_does_not_fit_is_left_out(tmp_path, caplog):  # 001-29
    longer = RECIPE.model_copy(update={"phases": (Phase(steps=16, lr=1e-2),)})
    run(tmp_path, RECIPE)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    state["optimizer"]["param_groups"].pop()
    state["progress"]["ends"] = []
    torch.save(state, tmp_path / "last.pt")
    with caplog.at_level("WARNING"):
        progress, _ = run(tmp_path, longer)
    assert "going on from the weights alone" in caplog.text
    assert progress.step == 16


def test_an_average_that_begins_later_begins_at_the_weights(tmp_path):
    _, files = run(tmp_path, RECIPE.model_copy(update={"ema": 0.0}))
    state = checkpoint.read(files.last)
    model = WithPreprocess(Bright().build(), Bright.preprocess)
    average = MovingAverage(model, 0.9)
    checkpoint.restore(state, model, average)
    for name, value in average.module.state_dict().items():
        assert torch.equal(value, state["model"][name]), name


def test_another_networks_checkpoint_is_refused(tmp_path):
    class Wider(Bright):
        def build(self):
            network = super().build()
            network.head = torch.nn.Sequential(torch.nn.Linear(144, 2), torch.nn.Linear(2, 1), torch.nn.Flatten(0))
            return network

    run(tmp_path)
    with pytest.raises(ArtifactCorrupt, match="of another network"):
        run(tmp_path, detector=Wider())
