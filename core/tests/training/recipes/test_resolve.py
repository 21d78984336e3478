"""Recipes by name, from YAML and with changes; what is wrong is named."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_core.contract.recipe import Optimizer, Pairs, Phase, PseudoFakes, Schedule, TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.changes import changed, split_changes
from deepfake_core.training.recipes.presets import PRESETS
from deepfake_core.training.recipes.resolve import config_of, recipes_of, resolve_recipe
from deepfake_core.training.recipes.settings import differences
from deepfake_core.training.recipes.yaml_files import parse_stored_yaml, parse_yaml, to_yaml
from deepfake_core.training.runs.stored import read_run
from deepfake_registry.manifest import Frozen, Normalize, PreprocessSpec, Resize, manifest_of

OWN = TrainRecipe(phases=(Phase(steps=9),), batch_size=6)
DETECTOR: Any = SimpleNamespace(recipes={"default": OWN})


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_detectors_own_recipes_come_before_the_presets_of_the_sources():
    assert resolve_recipe(DETECTOR, "default") == OWN
    assert resolve_recipe(DETECTOR, "two-phase") == PRESETS["two-phase"]
    shadowing: Any = SimpleNamespace(recipes={"two-phase": OWN})
    assert resolve_recipe(shadowing, "two-phase") == OWN
    assert next(iter(recipes_of(DETECTOR))) == "default"
    assert set(recipes_of(DETECTOR)) == {"default", *PRESETS}


def test_a_recipe_itself_is_taken_as_it_is():
    assert resolve_recipe(DETECTOR, OWN) == OWN


class Width(Frozen):
    width: int = 64


def test_a_recipe_may_bring_hyper_parameters():  # 003-14
    def config(recipe, own=None):
        made: Any = SimpleNamespace(Config=Width, config=own or Width(), configs={"fast": {"width": 32}}, recipes={})
        return config_of(made, recipe).width

    assert config("fast") == 32
    assert config("default") == config(OWN) == config(Path("fast")) == 64
    assert config("fast", Width(width=8)) == 8, "what the detector was made with stays"


@pytest.fixture
def model(tmp_path):
    """The folder of a packaged model that was trained by a recipe of its own, with hyper-parameters of its own."""
    spec = PreprocessSpec(resize=Resize(height=8, width=8), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1)))
    training = {**OWN.model_dump(mode="json"), "taken": {"steps": 9}}
    manifest = manifest_of(
        name="x", architecture="x", preprocess=spec, weights="trained", config={"width": 16}, training=training
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text(manifest.model_dump_json())
    return tmp_path / "model"


def test_the_recipe_of_a_packaged_model_or_of_its_run_repeats_it(model):
    made: Any = SimpleNamespace(Config=Width, config=Width(), configs={}, recipes={})
    for folder in (model, str(model), model.parent):
        assert resolve_recipe(made, folder) == OWN
        assert config_of(made, folder) == Width(width=16)
    assert resolve_recipe(made, model, ["batch_size=2"]).batch_size == 2
    manifest = json.loads((model / "manifest.json").read_text())
    (model / "manifest.json").write_text(json.dumps({**manifest, "training": {}, "config": {"depth": 3}}))
    with pytest.raises(DeepfakeError, match=r"model: its manifest does not say how it was trained"):
        resolve_recipe(made, model)
    with pytest.raises(DeepfakeError, match=r"model: hyper-parameters"):
        config_of(made, model)


def test_the_smoke_size_comes_before_the_changes():  # 001-30
    recipe = resolve_recipe(DETECTOR, "two-phase", ["batch_size=2"], smoke=True)
    assert [phase.steps for phase in recipe.phases] == [3, 3]
    assert recipe.batch_size == 2


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "where", "value"),
    [
        ("batch_size=16", lambda r: r.batch_size, 16),
        ("phases.1.lr.backbone=1e-4", lambda r: r.phases[1].lr, {"head": 1e-3, "backbone": 1e-4}),
        ("phases.1.lr=1e-4", lambda r: r.phases[1].lr, 1e-4),
        ("phases.0.lr.backbone=2.5E-06", lambda r: r.phases[0].lr["backbone"], 2.5e-6),
        ("phases.0.schedule.name=plateau", lambda r: r.phases[0].schedule.name, "plateau"),
        ("pairs.pseudo.labelled=0", lambda r: r.pairs.pseudo.labelled, 0.0),
        ("optimizer.name=sgd", lambda r: r.optimizer.name, "sgd"),
        ("optimizer.betas.1=0.99", lambda r: r.optimizer.betas, (0.9, 0.99)),
        ("optimizer.betas=[0.8, 0.9]", lambda r: r.optimizer.betas, (0.8, 0.9)),
        ("patience=null", lambda r: r.patience, None),
        ("balance=none", lambda r: r.balance, "none"),
        ("augment=no", lambda r: r.augment, "no"),
        ("compile=true", lambda r: r.compile, True),
        ("monitor=a=b", lambda r: r.monitor, "a=b"),
        ("phases=[{epochs: 2, lr: {head: 1e-3}}]", lambda r: r.phases, (Phase(epochs=2, lr={"head": 1e-3}),)),
    ],
)
def test_a_dotted_key_reaches_any_setting(change, where, value):
    recipe = resolve_recipe(DETECTOR, "two-phase", [change])
    assert where(recipe) == value
    assert type(where(recipe)) is type(value)


def test_the_length_that_is_asked_for_replaces_the_other():
    recipe = resolve_recipe(DETECTOR, "two-phase", ["phases.0.steps=100", "phases.1.epochs=2"])
    assert [(phase.epochs, phase.steps) for phase in recipe.phases] == [(None, 100), (2, None)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["optimiser.name=sgd"], "unknown setting optimiser; did you mean optimizer?"),
        (["optimizer.nmae=sgd"], "unknown setting optimizer.nmae; did you mean name?"),
        (["pairs.pseudo.nothing=1"], "pairs.pseudo.nothing; there are: self_blend, composite, reconstruct, labelled"),
        (["stesp=3"], "there are: phases, optimizer"),
        (["optimizer.name=rmsprop"], "optimizer.name: Input should be 'adamw', 'adam' or 'sgd'"),
        (["phases.3.epochs=1"], "phases.3; numbers in phases: 0, 1"),
        (["phases.-1.epochs=1"], "phases.-1"),
        (["phases.one.epochs=1"], "phases.one"),
        (["batch_size.x=1"], "batch_size is one value, 64"),
        (["phases.0.lr.head=fast"], "phases.0.lr.head: Input should be a valid number"),
        (["phases.0.lr.head=-1"], "lr must be positive"),
        (["phases.0.lr.head=inf"], "phases.0.lr.head: Input should be a finite number"),
        (["phases.0.steps=null", "phases.0.epochs=null"], "either epochs or steps"),
        (["phases=[]"], "phases"),
        (["optimizer=fast"], "optimizer: "),
        (["batch_size"], "not KEY=VALUE"),
        (["=3"], "not KEY=VALUE"),
        (["seed=!!int x"], "cannot be read as YAML"),
        (["optimizer.betas=[1, 2"], "cannot be read as YAML"),
    ],
)
def test_a_wrong_change_is_named_with_what_is_possible(changes, words):
    with pytest.raises(DeepfakeError) as raised:
        resolve_recipe(DETECTOR, "two-phase", changes)
    assert words in str(raised.value)
    assert "--set" in str(raised.value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_rate_that_is_no_number_is_refused_by_the_recipe_itself(value):
    with pytest.raises(ValueError, match="finite number"):
        Phase(epochs=1, lr=value)
    with pytest.raises(ValueError, match="finite number"):
        Phase(epochs=1, lr={"head": value})
    with pytest.raises(ValueError, match="finite number"):
        TrainRecipe(grad_clip=value)


def test_changes_of_the_detectors_settings_are_told_apart():
    assert split_changes(["seed=1", "config.image_size=96", "phases.0.lr=1"]) == (
        ["seed=1", "phases.0.lr=1"],
        ["image_size=96"],
    )


def test_differences_name_each_setting():
    new = changed(OWN, ["optimizer.name=sgd", "phases.0.lr={head: 1e-3}"])
    assert differences(OWN, new) == [
        "phases.0.lr: 0.001 → absent",
        "optimizer.name: adamw → sgd",
        "phases.0.lr.head: absent → 0.001",
    ]
    assert differences(OWN, OWN) == []


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_may_start_from_a_named_recipe(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("base: two-phase\nbatch_size: 8\noptimizer: {weight_decay: 1e-4}  # read as a number\n")
    assert resolve_recipe(DETECTOR, str(file), ["seed=3"]) == changed(
        PRESETS["two-phase"], ["batch_size=8", "optimizer.weight_decay=1e-4", "seed=3"]
    )
    file.write_text("phases: [{epochs: 1, lr: 1e-4}]\n")
    assert resolve_recipe(DETECTOR, file) == TrainRecipe(phases=(Phase(epochs=1, lr=1e-4),))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch_sise: 8", "unknown setting batch_sise; did you mean batch_size"),
        ("optimizer: {lr: 1}", "unknown setting optimizer.lr"),
        ("phases:\n- {epochs: 1, shedule: {}}", "unknown setting phases.0.shedule; did you mean schedule"),
        ("base: two-phas", "base: unknown recipe 'two-phas'"),
        ("base: [two-phase]", "base: unknown recipe"),
        ("seed: 1\nseed: 2", "'seed' occurs twice"),
        ("seed: [1", "line 1"),
        ("", "holds no settings"),
        ("- seed", "holds no settings"),
        ("1: 2", "1"),
    ],
)
def test_a_wrong_file_is_named_with_the_setting(tmp_path, text, words):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(DeepfakeError) as raised:
        resolve_recipe(DETECTOR, str(file))
    assert words in str(raised.value)
    assert str(file) in str(raised.value)


def test_an_unknown_name_or_file_says_what_there_is(tmp_path):
    with pytest.raises(DeepfakeError, match=r"did you mean 'two-phase'\?.* default, two-phase"):
        resolve_recipe(DETECTOR, "two-phse")
    with pytest.raises(DeepfakeError, match=r"gone\.yaml: cannot be read: No such file"):
        resolve_recipe(DETECTOR, str(tmp_path / "gone.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeepfakeError, match="not UTF-8"):
        resolve_recipe(DETECTOR, str(tmp_path / "bytes.yaml"))


def test_a_run_remembers_how_it_was_started(tmp_path):
    assert read_run(tmp_path) is None
    recipe = "\n".join(f"  {line}" for line in to_yaml(OWN).splitlines())
    text = f"detector: lite\nconfig: {{image_size: 96}}\ndata: csv:faces.csv\nvalid: null\nrecipe:\n{recipe}\n"
    (tmp_path / "config.yaml").write_text(text)
    run = read_run(tmp_path)
    assert run is not None
    assert (run.detector, run.config, run.recipe) == ("lite", {"image_size": 96}, OWN)
    assert (run.data, run.valid, run.test) == ("csv:faces.csv", None, None)
    (tmp_path / "config.yaml").write_text("detector: lite\nrecipe: {steps: 3}\n")
    with pytest.raises(DeepfakeError, match=r"config\.yaml: unknown setting steps"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("detector: lite\n")
    with pytest.raises(DeepfakeError, match="names no detector and recipe"):
        read_run(tmp_path)


# ── documentation ────────────────────────────────────────────────────────────────────────────────────────────────

PAGE = (Path(__file__).parents[4] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_recipes_in_the_documentation_are_some(tmp_path):
    recipes = []
    for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / "mine.yaml").write_text(text)
        recipes.append(resolve_recipe(DETECTOR, tmp_path / "mine.yaml"))
    kinds, own = recipes
    assert [kind.name for kind in kinds.pairs.kinds] == ["GAN", "diffusion", "swap"]
    assert own.batch_size == 16
    assert [phase.name for phase in own.phases] == ["head", "fine-tune"]


def test_the_changes_in_the_documentation_are_possible():
    found = [split_changes(re.findall(r"--set ([a-z][\w.]*=\w[\w./-]*)", line))[0] for line in PAGE.splitlines()]
    assert sum(map(len, found)) >= 7
    for changes in found:
        resolve_recipe(DETECTOR, "two-phase", changes)


def test_the_documentation_names_every_preset():
    for name in PRESETS:
        assert f"`{name}`" in PAGE, name


# ── round trip ───────────────────────────────────────────────────────────────────────────────────────────────────

share = st.floats(0, 0.9)
rate = st.floats(1e-9, 1e3)
count = st.integers(1, 10**6)
phases = st.builds(
    lambda length, number, **fields: Phase(**{length: number}, **fields),
    st.sampled_from(["epochs", "steps", "minutes"]),
    count,
    name=st.text(max_size=8),
    lr=rate | st.dictionaries(st.text(max_size=8), rate, min_size=1, max_size=3),
    schedule=st.builds(
        Schedule,
        name=st.sampled_from(["cosine", "one_cycle", "plateau", "constant"]),
        warmup=share,
        factor=st.floats(0.01, 0.99),
        patience=count,
    ),
)
recipes = st.builds(
    TrainRecipe,
    phases=st.lists(phases, min_size=1, max_size=3).map(tuple),
    optimizer=st.builds(Optimizer, weight_decay=share, betas=st.tuples(share, share)),
    samples=st.sampled_from(["pictures", "pairs", "clips"]),
    batch_size=st.integers(1, 500).map(lambda half: 2 * half),
    ema=share,
    compile=st.booleans(),
    monitor=st.text(max_size=8) | st.sampled_from(["no", "1e4", "null", "~", "0x1", "1_0", ".inf", "2020-01-01"]),
    augment=st.text(max_size=8),
    patience=st.none() | count,
    data_share=st.floats(0.01, 1),
    pairs=st.builds(Pairs, pseudo=st.builds(PseudoFakes, labelled=share), small_until=share),
)


@settings(max_examples=60)
@given(recipe=recipes)
def test_a_recipe_printed_as_yaml_is_read_back_equal(recipe):
    settings = parse_yaml(to_yaml(recipe), "here")
    assert TrainRecipe.model_validate(settings) == recipe
    assert set(settings) == set(TrainRecipe.model_fields), "every setting is printed"


@given(text=st.text(max_size=12) | st.sampled_from(["no", "1e4", "08", "1:30", "~", "=", "<<", "2020-01-01", "a\x85b"]))
def test_text_means_the_same_to_both_versions_of_yaml(text):
    written = to_yaml({"data": text, text: [text]})
    assert parse_yaml(written, "here") == parse_stored_yaml(written, "here") == {"data": text, text: [text]}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_a_file(tmp_path, name):
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(PRESETS[name]))
    assert resolve_recipe(DETECTOR, file) == PRESETS[name]


@settings(max_examples=150)
@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("{}[]:,-!&*<>=.0123456789e'\"\n#|?"), max_size=40))
def test_any_text_is_a_value_or_a_clear_error(text):
    with contextlib.suppress(DeepfakeError):
        parse_yaml(text, "here")


@pytest.mark.parametrize("text", ["!!timestamp x", "!!bool x", "!!float x", "!!int ''", "!!python/name:os.system ''"])
def test_tags_are_no_way_in(text):
    with pytest.raises(DeepfakeError, match="cannot be read as YAML"):
        parse_yaml(text, "here")
