"""The loop: it learns, keeps the best, stops when told to, and says what went wrong."""

import csv
import logging
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import RECIPE, Bright, Pixels, Steady, run, validate

from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.contract.recipe import Optimizer, Phase, Schedule
from deepfake_core.errors import DeepfakeError, TrainingDataError
from deepfake_core.training.data.batches import Batches
from deepfake_core.training.loop.accelerator import make_accelerator
from deepfake_core.training.loop.hooks import Hooks, Stopped

pytestmark = pytest.mark.torch


def changed(**settings):
    return RECIPE.model_copy(update=settings)


def read_rows(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_it_learns_and_keeps_what_it_validated(tmp_path):  # 001-17
    progress, files = run(tmp_path)
    assert progress.best["auc"] > 0.9
    network = Bright().build()
    network.load_state_dict(load_file(files.best))
    again = validate(WithPreprocess(network, Bright.preprocess))
    assert again["val_loss"] == pytest.approx(progress.best["val_loss"], abs=1e-6)
    rows = read_rows(tmp_path / "metrics_log.csv")
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    assert {"loss", "val_loss", "auc", "lr", "grad_norm"} <= set(rows[0])
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_two_phases_freeze_the_backbone_and_then_train_it_slowly(tmp_path):  # 001-13, 001-14
    head = Phase(name="head", epochs=1, lr={"head": 1e-2}, schedule=Schedule(name="constant", warmup=0.0))
    tune = Phase(name="fine-tune", epochs=2, lr={"head": 1e-2, "backbone": 1e-4}, schedule=Schedule(warmup=0.5))
    bodies, rates = [], []

    def watch(model):
        bodies.append({name: value.clone() for name, value in model.network.body.state_dict().items()})
        return validate(model)

    run(
        tmp_path,
        changed(phases=(head, tune), eval_every=None, ema=0.0),
        check=watch,
        hooks=Hooks(log=lambda step, values: rates.append(values)),
    )
    assert len(bodies) == 3  # last is saved at every epoch
    start = Bright().build().body.state_dict()
    for name, value in start.items():
        assert torch.equal(bodies[0][name], value), f"{name} changed while frozen"
        assert not torch.equal(bodies[1][name], value) or name.endswith("bias"), f"{name} never trained"
    tuned = [values for values in rates if "lr/backbone" in values]
    assert tuned
    assert all(values["lr/backbone"] == pytest.approx(values["lr/head"] / 100) for values in tuned)


def test_an_unknown_group_is_named(tmp_path):
    with pytest.raises(DeepfakeError, match=r"lr names neck.*backbone, head"):
        run(tmp_path, changed(phases=(Phase(steps=2, lr={"neck": 1.0}),)))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("sam", [0.0, 0.05])
def test_every_optimizer_learns(tmp_path, name, sam):
    rate = 1e-1 if name == "sgd" else 1e-2
    progress, _ = run(
        tmp_path, changed(optimizer=Optimizer(name=name, sam=sam), phases=(Phase(steps=24, lr=rate),), eval_every=24)
    )
    assert progress.best["auc"] > 0.9


def test_accumulation_gives_the_gradient_of_the_larger_batch(tmp_path):  # 004-6
    phases = (Phase(steps=1, lr=1e-2),)
    results = []
    for batch, accumulate in ((8, 1), (4, 2)):
        folder = tmp_path / str(batch)
        data = Pixels(8)
        progress, _ = run(
            folder,
            changed(batch_size=batch, accumulate=accumulate, phases=phases, ema=0.0, eval_every=1),
            detector=Steady(),
            data=data,
        )
        results.append((progress.best["loss"], progress.best["grad_norm"]))
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_steps_per_epoch_round_up():  # 004-6: one cycle needs the exact number
    for length, batch, accumulate, steps in ((30, 8, 1, 4), (30, 8, 2, 2), (30, 8, 3, 2), (8, 8, 4, 1)):
        batches = Batches(Pixels(length), changed(batch_size=batch, accumulate=accumulate), make_accelerator("cpu"))
        assert batches.steps_per_epoch == steps
        passes = [len(batches.keys(step)) for step in range(steps)]
        assert sum(passes) == -(-length // batch)
        seen = [item for step in range(steps) for keys in batches.keys(step) for _, item in keys]
        assert set(seen) == set(range(length))
        assert len(seen) == sum(passes) * batch


def test_recomputed_activations_change_nothing_but_memory(tmp_path):  # 003-16
    plain, _ = run(tmp_path / "plain", detector=Steady())
    recomputed, _ = run(tmp_path / "recomputed", changed(checkpointing=True), detector=Steady())
    assert plain.history == recomputed.history


def test_compiled_and_mixed_precision_runs_finish(tmp_path):  # 001-27, 002-2, 004-11
    compiled, files = run(tmp_path / "a", changed(compile=True, compile_backend="aot_eager", channels_last=True))
    assert compiled.best["auc"] > 0.9
    assert set(load_file(files.best)) == set(Bright().build().state_dict())
    mixed, _ = run(tmp_path / "b", changed(precision="bf16"))
    assert mixed.best["auc"] > 0.9
    automatic, _ = run(tmp_path / "c", changed(precision="auto"))  # 002-3: mixed precision only on CUDA
    exact, _ = run(tmp_path / "d")
    assert automatic.history == exact.history
    with pytest.raises(DeepfakeError, match="fp16 needs a GPU"):
        run(tmp_path / "e", changed(precision="fp16"))


def test_it_stops_early_and_stays_stopped(tmp_path):  # 003-6, 003-10, 004-6
    values = iter([0.5, 0.7, 0.6, 0.6, 0.9])

    def check(model):
        return {"auc": next(values)}

    recipe = changed(patience=2, eval_every=2)
    progress, _ = run(tmp_path, recipe, check=check)
    assert (progress.step, progress.best["auc"]) == (8, 0.7)
    again, _ = run(tmp_path, recipe, check=check)  # resuming does not train on
    assert again.step == 8


def test_patience_begins_anew_with_each_phase(tmp_path):
    values = iter([0.9, 0.8, 0.8, 0.8, 0.8, 0.8])
    head, tune = (Phase(name=name, steps=steps, lr=1e-2) for name, steps in (("head", 6), ("tune", 6)))
    recipe = changed(phases=(head, tune), patience=3, eval_every=2)

    def stop(step, metrics):
        if step == 6:
            raise Stopped("between the phases")

    run(tmp_path, recipe, check=lambda model: {"auc": next(values)}, hooks=Hooks(on_validation=stop))
    progress, _ = run(tmp_path, recipe, check=lambda model: {"auc": next(values)})
    assert (progress.step, progress.stale) == (12, 3)


@pytest.mark.parametrize(("precision", "mean"), [("fp16", 2.0), ("fp32", float("inf"))])
def test_a_step_that_fp16_skips_does_not_count_in_the_norm_of_the_gradient(tmp_path, monkeypatch, precision, mean):
    monkeypatch.setattr("deepfake_core.training.loop.loop.working_precision", lambda *_: precision)
    norms = iter([2.0, 2.0, float("inf")] + [2.0] * 9)
    monkeypatch.setattr(
        "deepfake_core.training.loop.step.Stepper.__call__",
        lambda self, parts: (torch.tensor(0.5), torch.tensor(next(norms))),
    )
    progress, _ = run(tmp_path)
    assert progress.history[0]["grad_norm"] == mean
    assert progress.history[1]["grad_norm"] == 2.0
    assert [row["loss"] for row in progress.history] == [0.5, 0.5, 0.5]


def test_a_lower_loss_can_be_what_is_better(tmp_path):  # resolution 3, 003-11
    values = iter([0.5, 0.7, 0.4])
    progress, _ = run(tmp_path, changed(monitor="val_loss", mode="min"), check=lambda model: {"val_loss": next(values)})
    assert progress.best["val_loss"] == 0.4
    with pytest.raises(DeepfakeError, match="monitor='aux' is not measured"):
        run(tmp_path / "typo", changed(monitor="aux"))


def test_a_plateau_lowers_the_rate(tmp_path):  # 003-10
    schedule = Schedule(name="plateau", warmup=0.0, factor=0.5, patience=1)
    values = iter([0.9, 0.8, 0.8, 0.8, 0.8, 0.8])
    progress, _ = run(
        tmp_path,
        changed(phases=(Phase(steps=12, lr=1e-2, schedule=schedule),), eval_every=2),
        check=lambda model: {"auc": next(values)},
    )
    assert [row["lr"] for row in progress.history] == pytest.approx([1e-2, 1e-2, 1e-2, 5e-3, 5e-3, 2.5e-3])


def test_unreadable_pictures_count_for_nothing_and_are_named(tmp_path, caplog):  # 001-26, resolution 14
    with caplog.at_level(logging.WARNING):
        progress, files = run(tmp_path, changed(max_bad=0.1, eval_every=None), data=Pixels(30, bad=(3, 7)))
    assert progress.best["auc"] > 0.9
    assert set(files.unreadable) == {"picture3.png", "picture7.png"}
    assert "2 samples of this epoch could not be read" in caplog.text
    with pytest.raises(TrainingDataError, match=r"1 of 30 .*max_bad=0.01.*picture\d+.png"):
        run(tmp_path / "strict", data=Pixels(30, bad=(3, 7)))


def test_the_limit_on_unreadable_pictures_is_one_for_all_processes(monkeypatch):  # resolution 14
    batches = Batches(Pixels(30), changed(max_bad=0.1), make_accelerator("cpu"))
    assert batches.close_epoch([1, 2]) == ["picture1.png", "picture2.png"]
    monkeypatch.setattr("deepfake_core.training.data.batches.gather_object", lambda seen: [*seen, 7, 9])
    with pytest.raises(TrainingDataError, match=r"4 of 30 .*picture1\.png, picture2\.png, picture7\.png, picture9"):
        batches.close_epoch([1, 2])


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(TrainingDataError, match="training split is empty"):
        run(tmp_path, data=Pixels(0))


def test_out_of_memory_names_three_remedies(tmp_path):  # 001-27, 003-16
    class Huge(Bright):
        def loss(self, output, batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    with pytest.raises(DeepfakeError, match=r"batch_size=8.*precision=auto.*checkpointing=true"):
        run(tmp_path, detector=Huge())

    class Broken(Bright):
        def loss(self, output, batch):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(tmp_path / "other", detector=Broken())


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    class Diverging(Bright):
        def loss(self, output, batch):
            return super().loss(output, batch) * float("nan")

    with pytest.raises(DeepfakeError, match="the loss is nan at step"):
        run(tmp_path, detector=Diverging())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_the_step_in_hand(tmp_path, number):
    def ask(step, values):
        if step == 5:
            os.kill(os.getpid(), number)

    recipe = changed(eval_every=10)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recipe, hooks=Hooks(log=ask))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["step"] == 5
    resumed, _ = run(tmp_path, recipe)
    whole, _ = run(tmp_path / "whole", recipe)
    assert resumed.history == whole.history


def test_a_watcher_may_end_the_run(tmp_path):  # 001-25: pruning
    def prune(step, metrics):
        if step == 8:
            raise Stopped("not promising")

    progress, _ = run(tmp_path, hooks=Hooks(on_validation=prune))
    assert progress.step == 8


def test_other_numbers_of_workers_give_the_same_run(tmp_path):  # 001-28
    alone, _ = run(tmp_path / "alone")
    shared, _ = run(tmp_path / "shared", changed(workers=2))
    assert alone.history == shared.history
