"""The search (001-25): one validation split for all, weak trials pruned, nothing lost to a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.errors import DeepfakeError, MissingExtra, TrainingDataError
from deepfake_core.training.loop.hooks import Hooks
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.resolve import resolve_recipe
from deepfake_core.training.recipes.space import Dimension, as_change, parse_space
from deepfake_core.training.runs.files import read_history, to_csv
from deepfake_core.training.tune import Search, tune

pytest.importorskip("optuna")

RECIPE = TrainRecipe(phases=(Phase(steps=30, lr=1e-3),))
SPACE = ("optimizer.weight_decay=log:1e-4..1e-1", "phases.0.lr=log:1e-5..1e-2", "batch_size=choice:16,32")


def quality(recipe: TrainRecipe) -> float:
    """A made-up AUC: best at a weight decay of 0.01 and large batches."""
    import math

    return 0.9 - 0.1 * abs(math.log10(recipe.optimizer.weight_decay) + 2) + 0.01 * (recipe.batch_size == 32)


class FakeTrain:
    """Validates three times, each better than the one before; goes on from its ``metrics_log.csv``.

    ``kill``: at which step of which training to end; it leaves a study as a kill does, without the cost of a process.
    """

    def __init__(self, kill: tuple[int, int] | None = None) -> None:
        self.calls: list[tuple[TrainRecipe, tuple[str, ...], Path, bool]] = []
        self.kill = kill
        self.reported: list[int] = []

    def __call__(self, recipe, config, run_dir, *, resume, on_validation) -> None:
        assert resume or not read_history(run_dir), "a run directory of its own"
        self.calls.append((recipe, tuple(config), run_dir, resume))
        run_dir.mkdir(exist_ok=True)
        rows = read_history(run_dir)
        for step in (10, 20, 30)[len(rows) :]:
            rows.append({"step": step, "auc": quality(recipe) - 0.1 + step / 300})
            (run_dir / "metrics_log.csv").write_bytes(to_csv(rows))
            if self.kill == (len(self.calls), step):
                raise KeyboardInterrupt  # noted, but not yet reported
            (run_dir / "last.pt").touch()
            on_validation(step, rows[-1])


def search(**options: Any) -> Search:
    return Search(**{"recipe": RECIPE, "space": parse_space(SPACE), "trials": 6, "pruner": "none", **options})


# ── what is searched ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_space_is_read_from_text():
    assert parse_space([*SPACE, "ema=float:0..0.9", "accumulate=int:1..4", "patience=choice:null,5,x"]) == (
        Dimension("optimizer.weight_decay", "log", 1e-4, 1e-1),
        Dimension("phases.0.lr", "log", 1e-5, 1e-2),
        Dimension("batch_size", "choice", choices=(16, 32)),
        Dimension("ema", "float", 0.0, 0.9),
        Dimension("accumulate", "int", 1, 4),
        Dimension("patience", "choice", choices=(None, 5, "x")),
    )


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "nothing to search"),
        (["lr"], "is not KEY=log"),
        (["lr=1..2"], "is not KEY=log"),
        (["lr=exp:1..2"], "is not KEY=log"),
        (["lr=log:1e-4"], "two numbers"),
        (["lr=log:a..b"], "two numbers"),
        (["lr=log:0..1"], "above 0"),
        (["lr=float:2..1"], "LOW must be below HIGH"),
        (["lr=float:0..1e999"], "two numbers"),
        (["n=int:1..2.5"], "two whole numbers"),
        (["n=choice:[1],2"], "single values"),
        (["n=choice:{"], "cannot be read"),
        (["ema=float:0..1", "ema=float:0..1"], "occurs twice"),
        (["n=choice:16,32,16"], "a choice occurs twice"),
    ],
)
def test_a_wrong_space_is_named(texts, words):
    with pytest.raises(DeepfakeError, match=words.replace("[", r"\[")):
        parse_space(texts)


def test_no_point_is_tried_twice_and_a_small_space_is_exhausted(tmp_path, caplog):
    caplog.set_level("INFO", "deepfake.tune")
    train = FakeTrain()
    small = search(space=parse_space(["batch_size=choice:16,32", "accumulate=int:1..3"]), trials=20)
    found = tune(train, small, tmp_path)
    tried = {(recipe.batch_size, recipe.accumulate) for recipe, *_ in train.calls}
    assert (len(found), len(train.calls), len(tried)) == (6, 6, 6)
    assert "all 6 points of the space were tried" in caplog.text
    tune(train, small, tmp_path)
    assert len(train.calls) == 6, "nor by a further call"


@pytest.mark.parametrize(
    "key", ["seed", "validation_share", "monitor", "pairs.validation", "overfit", "leave_out", "pairs.kinds.0.beside.0"]
)
def test_what_trials_are_judged_by_is_not_searched(key):  # 001-25: one fixed validation split
    with pytest.raises(DeepfakeError, match="the same for all"):
        parse_space([f"{key}=int:1..2"])


def test_the_share_of_a_kind_is_searched():
    assert [dimension.key for dimension in parse_space(["pairs.kinds.0.share=log:0.5..2"])] == ["pairs.kinds.0.share"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optimizer.wd=log:1e-4..1", "unknown setting optimizer.wd"),
        ("batch_size=choice:1,32", "batch_size"),
        ("ema=float:0..2", "ema"),
    ],
)
def test_every_value_that_may_be_tried_fits_the_recipe_or_nothing_is_tried(tmp_path, text, words):
    train = FakeTrain()
    with pytest.raises(DeepfakeError, match=words):
        tune(train, search(space=parse_space([text])), tmp_path)
    assert not train.calls


@pytest.mark.parametrize("value", [16, 1e-05, 0.1, True, None, "sgd", "1e-4", "null", 'a "ü😀"'])
def test_a_value_reaches_the_recipe_as_it_was_suggested(value):
    from deepfake_core.training.recipes.yaml_files import parse_yaml

    text = as_change("key", value).partition("=")[2]
    assert (parse_yaml(text, "here"), type(parse_yaml(text, "here"))) == (value, type(value))


# ── the search ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_finds_what_is_better_and_writes_a_recipe_that_trains(tmp_path):
    train = FakeTrain()
    found = tune(train, search(trials=6), tmp_path)
    assert len(found) == len(train.calls) == 6
    assert len({run_dir for _, _, run_dir, _ in train.calls}) == 6
    values = [tried.value for tried in found]
    assert values == sorted(values, reverse=True)
    best = found[0]
    assert best.value == max(quality(recipe) for recipe, *_ in train.calls)
    detector: Any = type("Any", (), {"recipes": {}})
    assert resolve_recipe(detector, tmp_path / "best.yaml") == changed(RECIPE, best.changes)
    assert {(recipe.seed, recipe.validation_share) for recipe, *_ in train.calls} == {(42, 0.15)}


def test_settings_of_the_detector_are_searched_too(tmp_path):
    train = FakeTrain()
    space = parse_space(["config.width=choice:4,8", "batch_size=choice:16,32"])
    tune(train, search(space=space, trials=2), tmp_path)
    assert {config for _, config, *_ in train.calls} <= {("width=4",), ("width=8",)}
    assert "# trained with --set config.width=" in (tmp_path / "best.yaml").read_text()


def test_weak_trials_are_pruned(tmp_path):
    found = tune(FakeTrain(), search(pruner="median", trials=10), tmp_path)
    pruned = [tried for tried in found if tried.state == "pruned"]
    assert pruned
    assert found[0].state == "complete"
    assert not [tried for tried in pruned if (tried.run_dir / "last.pt").exists()], "they will not go on"
    assert all(len(read_history(tried.run_dir)) < 3 for tried in pruned)
    assert all(len(read_history(tried.run_dir)) == 3 for tried in found if tried.state == "complete")


def test_time_can_be_limited(tmp_path):
    train = FakeTrain()
    assert tune(train, search(timeout_s=-1.0), tmp_path) == []
    assert not train.calls


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_trial_is_noted_and_the_search_goes_on(tmp_path):
    class SometimesFull(FakeTrain):
        def __call__(self, recipe, config, run_dir, **options):
            super().__call__(recipe, config, run_dir, **options)
            if len(self.calls) in (1, 3):
                raise DeepfakeError("out of memory")

    found = tune(SometimesFull(), search(trials=4), tmp_path)
    assert [tried.state for tried in found] == ["complete"] * 4 + ["fail"] * 2
    assert found[-1].reason == "out of memory"


def test_trials_that_keep_failing_end_the_search(tmp_path):
    def fails(recipe, config, run_dir, **options):
        raise DeepfakeError("the loss is nan")

    with pytest.raises(DeepfakeError, match="3 trials in a row failed, the last one with: the loss is nan"):
        tune(fails, search(), tmp_path)


@pytest.mark.parametrize("error", [TrainingDataError("no faces"), MissingExtra("pairs", "deepfake-core[blend]")])
def test_what_no_settings_would_help_ends_the_search_at_once(tmp_path, error):
    calls = []

    def fails(*arguments, **options):
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        tune(fails, search(), tmp_path)
    assert len(calls) == 1


@pytest.mark.parametrize(("metrics", "words"), [({"auc": float("nan")}, "finite auc"), ({"loss": 1.0}, "choose one")])
def test_a_trial_without_the_monitored_number_fails(tmp_path, metrics, words):
    def train(recipe, config, run_dir, *, resume, on_validation):
        on_validation(10, metrics)

    with pytest.raises(DeepfakeError, match=words):
        tune(train, search(), tmp_path)


# ── resuming ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_finished_trials_are_kept_and_only_the_missing_ones_are_run(tmp_path):
    lowest = changed(RECIPE, ["mode=min"])
    tune(FakeTrain(), search(trials=2, recipe=lowest), tmp_path / "two")
    rest = FakeTrain()
    found = tune(rest, search(trials=4, recipe=lowest), tmp_path / "two")
    assert len(rest.calls) == 2
    values = [tried.value for tried in found]
    assert values == sorted(values), "lower is better where the recipe says so"
    at_once = tune(FakeTrain(), search(trials=4, recipe=lowest), tmp_path / "one")
    assert [(t.number, t.value, t.changes) for t in found] == [(t.number, t.value, t.changes) for t in at_once]


def test_killed_at_any_validation_it_ends_as_it_would_have(tmp_path):
    whole = tune(FakeTrain(), search(trials=4), tmp_path / "whole")
    cut = tmp_path / "cut"
    # When it goes on, the trial that was cut off has nothing left to do; the next one is cut off.
    for kill in ((2, 30), (2, 20)):
        with pytest.raises(KeyboardInterrupt):
            tune(FakeTrain(kill), search(trials=4), cut)
    last = FakeTrain()
    found = tune(last, search(trials=4), cut)
    assert [resume for *_, resume in last.calls] == [True] + [False] * (len(last.calls) - 1)
    assert [(t.value, t.changes, t.state) for t in found] == [(t.value, t.changes, t.state) for t in whole]


class RealTrain:
    """The loop itself, killed at one validation of all."""

    def __init__(self, kill_at: int = 0) -> None:
        self.validations, self.kill_at = 0, kill_at

    def check(self, model):
        self.validations += 1
        if self.validations == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return tiny_run.validate(model)

    def __call__(self, recipe, config, run_dir, *, resume, on_validation) -> None:
        tiny_run.run(run_dir, recipe, hooks=Hooks(on_validation=on_validation), check=self.check)


def real_search(folder: Path, kill_at: int = 0):
    recipe = changed(tiny_run.RECIPE, ["monitor=val_loss", "mode=min"])
    space = parse_space(["phases.0.lr=log:1e-4..1e-1", "batch_size=choice:4,8"])
    return tune(RealTrain(kill_at), Search(recipe, space, trials=2, pruner="none"), folder)


@pytest.mark.usefixtures("one_thread")
def test_a_real_training_killed_within_a_trial_ends_to_the_bit_as_it_would_have(tmp_path):
    whole = real_search(tmp_path / "whole")
    paths = os.pathsep.join(map(str, (Path(__file__).parent, Path(tiny_run.__file__).parent)))
    code = "from pathlib import Path; import test_tune, torch; torch.set_num_threads(1); "
    code += f"test_tune.real_search(Path({str(tmp_path / 'cut')!r}), 5)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONPATH": paths}, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    found = real_search(tmp_path / "cut")
    assert [(t.value, t.changes) for t in found] == [(t.value, t.changes) for t in whole]
    for one, other in zip(found, whole, strict=True):
        assert (one.run_dir / "metrics_log.csv").read_bytes() == (other.run_dir / "metrics_log.csv").read_bytes()


def test_a_trial_that_brings_its_process_down_is_given_up_in_the_end(tmp_path):
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            tune(FakeTrain(kill=(1, 10)), search(), tmp_path)
        (tmp_path / "trial-0000" / "metrics_log.csv").unlink()
    found = tune(FakeTrain(), search(trials=2), tmp_path)
    assert [tried.state for tried in found] == ["complete", "complete", "fail"]
    assert found[-1].reason == "its process died"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": changed(RECIPE, ["seed=1"])}, "another recipe"),
        ({"space": parse_space(SPACE[:2])}, "another space"),
        ({"identity": {"data": "b"}}, "another data"),
    ],
)
def test_trials_that_cannot_be_compared_are_not_mixed(tmp_path, options, words):
    tune(FakeTrain(), search(trials=1, identity={"data": "a"}), tmp_path)
    with pytest.raises(DeepfakeError, match=f"{words}.*--study"):
        tune(FakeTrain(), search(**{"identity": {"data": "a"}, **options}), tmp_path)


def test_a_study_is_searched_by_one_process_at_a_time(tmp_path):
    def nested(*arguments, **options):
        tune(FakeTrain(), search(), tmp_path / "other", tmp_path / "study.db")

    with pytest.raises(DeepfakeError, match="another process"):
        tune(nested, search(), tmp_path)


def test_a_file_that_is_no_study_is_named(tmp_path):
    (tmp_path / "study.db").write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(DeepfakeError, match=r"study\.db: is no study"):
        tune(FakeTrain(), search(), tmp_path)


def test_folders_of_another_search_are_not_taken_over(tmp_path):
    tune(FakeTrain(), search(trials=1), tmp_path)
    (tmp_path / "study.db").unlink()

    class Refusing(FakeTrain):
        def __call__(self, recipe, config, run_dir, *, resume, on_validation):
            if run_dir.exists() and not resume:
                raise DeepfakeError(f"{run_dir}: is not empty")
            super().__call__(recipe, config, run_dir, resume=resume, on_validation=on_validation)

    found = tune(Refusing(), search(trials=1), tmp_path)
    assert [tried.state for tried in found] == ["complete", "fail"]


def test_the_study_is_plain_to_read(tmp_path):
    tune(FakeTrain(), search(trials=1, identity={"data": "a"}), tmp_path)
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.load_study(study_name="search", storage=storage)
    assert json.loads(json.dumps(study.user_attrs))["identity"]["data"] == "a"
    assert study.trials[0].user_attrs["run_dir"] == "trial-0000"
    storage.remove_session()
    storage.engine.dispose()
