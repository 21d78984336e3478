"""The help of every command: its examples parse and run, its choices are listed, and its options stand in one order."""

from __future__ import annotations

import graphlib
import inspect
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import typer
from mini_sets import pictures
from typer.testing import CliRunner, Result

from deepfake_bench.cli import app
from deepfake_bench.records.dataset import DATA
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_exports.plugin import EXPORTERS

ROOT = typer.main.get_command(app)
COMMANDS: dict[str, Any] = {}


def collect(command: Any, name: str = "") -> None:
    COMMANDS[name] = command
    for child, inner in getattr(command, "commands", {}).items():
        collect(inner, f"{name} {child}".strip())


collect(ROOT)


def invoke(*words: str, **settings: Any) -> Result:
    return CliRunner().invoke(app, list(words), prog_name="dfbench", **settings)


def shown(name: str, width: int = 80) -> str:
    """What ``--help`` prints on a terminal of a width in columns."""
    command, context = ROOT, None
    for word in ["dfbench", *name.split()]:
        command = command if context is None else command.commands[word]
        context = command.context_class(command, info_name=word, parent=context, **command.context_settings)
    context.terminal_width = min(width, context.max_content_width) - 2
    return command.get_help(context)


def examples(name: str) -> list[str]:
    return inspect.cleandoc(COMMANDS[name].examples).splitlines()


def words_of(example: str) -> list[str]:
    """The words after ``dfbench``, without what a shell does with the output."""
    words = shlex.split(example)
    assert words.pop(0) == "dfbench"
    return words[: next((i for i, word in enumerate(words) if word in {">", "|"}), len(words))]


def options(name: str) -> list[Any]:
    return [one for one in COMMANDS[name].params if one.param_type_name == "option"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_and_fits_the_terminal(name):
    helped = shown(name)
    *_, end = helped.split("\nExamples:\n")
    assert end.splitlines() == [f"  {line}" for line in examples(name)]
    assert any(words_of(line)[: len(name.split())] == name.split() for line in examples(name))
    assert all(len(line) <= width for width in (80, 100) for line in shown(name, width).splitlines())
    assert "..." not in helped.partition("\n")[2], "a sentence is cut, or an argument is shown by its type"
    assert not re.search(r"<(list|int|float|str|path|[a-z]+ range)\b", helped), "a value is shown by its type"


@pytest.mark.parametrize("example", sorted({line for name in COMMANDS for line in examples(name)}))
def test_each_example_parses(example):
    words, command, context = words_of(example), ROOT, None
    while hasattr(command, "commands") and words[0] != "help":
        context = command.context_class(command, info_name=command.name, parent=context)
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words, parent=context, resilient_parsing=words[0:1] == ["help"])


@pytest.fixture
def shipped(tiny, tmp_path, monkeypatch, measured, judged, report_of):
    """A folder with what the examples name, made of shipped data and of reports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(tmp_path / "registry"))
    copy(DATA / "portrait.jpg", "photo.jpg")
    pictures(tmp_path / "my-pictures", 3)
    for place in ("report.json", "before.json", "after.json"):
        speed = measured(samples={"latency_ms": [10.0] * 30}, metrics={"latency_ms_p50": 10.0})
        report_of(speed, judged({"a": (0.8, 0.05)})).write(Path(place))
    Path("reports").mkdir()
    copy("report.json", "reports/*.json")  # as a shell hands it on where nothing matches
    rows = "".join(f"{i}.jpg,{'ab'[i % 2]},,,{i % 4 // 2},{0.1 + i / 50},fake,\n" for i in range(32))
    for place in ("lite.csv", "mine.csv"):
        Path(place).write_text("path,source,group,variant,fake,p_fake,verdict,error\n" + rows)
    Path("people.csv").write_text("path,skin_tone\n" + "".join(f"{i}.jpg,{i // 16}\n" for i in range(32)))
    Path("runs").mkdir()


RUN = (
    "list", "report", "compare", "leaderboard", "runs list", "runs prune", "runs clean", "scores versus",
    "scores subgroups", "scores cross", "data check", "data manifest", "data split", "data stats", "registry ls",
    "registry verify", "registry gc",
)  # fmt: skip
NEED_MORE = ("--near-duplicates", "--faces", "s3://", "experiments/")


@pytest.mark.parametrize("name", RUN)
def test_examples_that_need_only_shipped_data_run(shipped, name):
    ran = 0
    for line in examples(name):
        if not any(word in line for word in NEED_MORE):
            done = invoke(*words_of(line))
            assert done.exit_code == 0, f"{line}: {done.output}"
            ran += 1
    assert ran


def test_the_first_examples_of_the_detector_run(shipped):
    pytest.importorskip("deepfake_lite")
    for name in ("predict", "explain"):
        done = invoke(*words_of(examples(name)[0]))
        assert done.exit_code == 0, done.output
        assert done.stdout


# ── choices ──────────────────────────────────────────────────────────────────────────────────────────────────────

FORMATS = {spec.name for spec in EXPORTERS}
FIXED = {
    ("run", "--scenario"): set(SCENARIOS),
    ("parity", "--format"): FORMATS,
    ("export", "--format"): FORMATS,
    ("export", "--precision"): {precision for spec in EXPORTERS for precision in spec.precisions},
    ("predict", "--device"): {"auto", "cpu", "cuda", "cuda:N", "mps"},
    ("train", "--track"): {"tensorboard", "mlflow", "wandb"},
}
LISTED_BY = {
    "DETECTOR": "dfbench list",
    "PROTECTOR": "dfbench list",
    "LAYOUT": "dfbench list",
    "RUN": "dfbench runs list",
    "MODEL@VERSION": "dfbench registry ls",
    "NAME@VERSION": "dfbench registry ls",
    "NAME|FILE.yaml": "dfbench recipes",
}
"""Part of the name of a value → the command that lists such values."""


@pytest.mark.parametrize(("name", "option"), FIXED)
def test_the_values_of_a_fixed_set_are_listed(name, option):
    (found,) = [one for one in options(name) if option in one.opts]
    for value in FIXED[name, option]:
        assert re.search(rf"(?<![\w:-]){re.escape(value)}(?![\w-])", f"{found.metavar} {found.help}"), value


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not hasattr(command, "commands")])
def test_values_that_depend_on_the_machine_name_the_command_that_lists_them(name):
    text = " ".join(shown(name).partition("Examples:")[0].split())
    for one in COMMANDS[name].params:
        for part, command in LISTED_BY.items():
            if one.metavar == part or (part in re.split(r"[\[\]|:]", one.metavar or "") and part != "RUN"):
                assert command in text, f"{name}: {one.metavar}"


def test_options_that_commands_share_stand_in_one_order():
    before: dict[str, set[str]] = {}
    for name in COMMANDS:
        optional = [f"{one.opts[0]} {one.metavar or ''}".strip() for one in options(name) if not one.required]
        for first, second in itertools.pairwise(optional):
            before.setdefault(second, set()).add(first)
    graphlib.TopologicalSorter(before).prepare()  # CycleError: two commands disagree


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "predict"),
        (("data",), "dfbench data check my-pictures/"),
        (("predict",), "Missing argument 'FILE'. For example: dfbench predict photo.jpg"),
        (("explain", "photo.jpg"), "Missing option '--out'. For example: dfbench explain photo.jpg --out maps/"),
        (("predct", "photo.jpg"), "'predict'"),
        (("data", "chek"), "'check'"),
        (("photo.jpg",), "To judge a file: dfbench predict photo.jpg"),
        (("predict", "photo.jpg", "--formt", "json"), "--format"),
        (("predict", "photo.jpg", "--format", "jsn"), "did you mean 'json'?"),
        (("run", "--backend", "open-vino"), "did you mean 'openvino'?"),
        (("run", "--scenario", "acuracy"), "did you mean 'accuracy'?"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_a_mistake_is_answered_with_what_may_be_meant(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").touch()
    done = invoke(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Value error" not in done.stderr


@pytest.mark.parametrize("name", ["", "predict", "data", "data split"])
def test_the_word_help_means_the_option(name):
    assert invoke("help", *name.split()).stdout == invoke(*name.split(), "--help").stdout


# ── completion ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dfbench pre", ["predict"]),
        ("dfbench registry check", ["check-signature"]),
        ("dfbench predict --max-", ["--max-faces", "--max-pixels"]),
        ("dfbench predict x --format js", ["json", "jsonl"]),
        ("dfbench predict x --detector tin", ["tiny"]),
        ("dfbench train bar", ["bare"]),
        ("dfbench explain x --method grad", ["gradcam", "gradcam++"]),
        ("dfbench run --scenario s", ["single_stream", "server"]),
        ("dfbench run --device cu", ["cuda"]),
        ("dfbench export x --format tor", ["torchscript"]),
        ("dfbench export x --format openvino --precision b", ["bf16"]),
        ("dfbench registry pull ", []),
        ("dfbench registry pull --registry s3://elsewhere ", []),
        ("dfbench predict ph", []),  # the shell completes files
    ],
)
def test_the_shell_completes(shipped, line, expected):
    words = line.split(" ")
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_DFBENCH_COMPLETE": "complete_bash"}
    done = invoke(env=env)
    assert (done.stdout.split(), done.stderr) == (expected, "")


def test_to_complete_a_name_imports_nothing_heavy(environment):
    code = (
        "import sys\nfrom deepfake_bench.cli import main\nsys.argv = ['dfbench']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'numpy', 'onnxruntime', 'cv2', 'PIL', 'rich') if name in sys.modules])"
    )
    words = {"COMP_WORDS": "dfbench predict x --detector ti", "COMP_CWORD": "4", "_DFBENCH_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-c", code], env=environment | words, capture_output=True, check=True)
    assert done.stdout.split(maxsplit=1) == [b"tiny", b"[]\n"]


def test_models_of_the_registry_are_completed(shipped):
    from deepfake_core.discovery.artifacts import read_bare, write_package

    model = Path(__file__).parents[2] / "tiny.onnx"
    package = write_package(Path("model"), read_bare(model).manifest, {"onnx": model})
    assert invoke("registry", "push", str(package.folder)).exit_code == 0
    assert invoke("registry", "alias", "tiny@1", "candidate", "--reason", "a test").exit_code == 0
    env = {"COMP_WORDS": "dfbench registry show t", "COMP_CWORD": "3", "_DFBENCH_COMPLETE": "complete_bash"}
    assert invoke(env=env).stdout.split() == ["tiny@candidate", "tiny@1"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_of_the_documentation_for_a_shell_gives_a_script(shell):
    page = (Path(__file__).parents[4] / "docs" / "commands.md").read_text(encoding="utf-8")
    assert f"_DFBENCH_COMPLETE=source_{shell} dfbench" in page
    script = invoke(env={"_DFBENCH_COMPLETE": f"source_{shell}"}).stdout
    assert "_DFBENCH_COMPLETE" in script
    assert f"complete_{shell}" in script
