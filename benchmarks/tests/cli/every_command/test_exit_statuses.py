"""What ``docs/commands.md`` says of every command: its exit statuses, and its output for programs."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from layouts import write
from mini_sets import jpeg, pictures
from typer.testing import CliRunner, Result

import deepfake_bench.cli
from deepfake_bench.cli import app
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.records.dataset import PLUMBING
from deepfake_core.data.audit.result import Auc, Finding, Shortcuts, SourceAudit
from deepfake_core.discovery.artifacts import read_bare, write_package
from deepfake_core.errors import DeepfakeError

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
MODEL = Path(__file__).parents[2] / "tiny.onnx"


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """``(name, command)`` of every command that is not a group."""
    for child, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, f"{name} {child}".strip())
    if not hasattr(command, "commands"):
        yield name, command


def documented() -> dict[str, list[str]]:
    """Command → the other cells of its row in the last table."""
    rows = re.findall(r"^\| `([a-z -]+)` \|(.*)\|$", PAGE.partition("## All commands")[2], re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


COMMANDS = dict(leaves(typer.main.get_command(app)))
DOCUMENTED = documented()
STATUSES = {name: {i + 1 for i, cell in enumerate(cells[:3]) if cell} for name, cells in DOCUMENTED.items()}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_command_is_documented():
    assert list(DOCUMENTED) == list(COMMANDS)


def test_the_meanings_are_those_of_the_code():
    meanings = re.findall(r"^\| (\d+) \|", PAGE.partition("## Output")[0], re.MULTILINE)
    assert [int(status) for status in meanings] == [0, *ExitStatus]


def test_no_command_ends_with_a_status_of_its_own():
    files = [*Path(deepfake_bench.cli.__file__).parent.rglob("*.py")]
    sources = [file.read_text() for file in files if file.name != "streams.py"]  # which ends the whole program
    ends = [end for source in sources for end in re.findall(r"typer\.Exit\b(?:\((.*?)\))?", source) if end]
    assert len(ends) > 10
    assert all(end.startswith("ExitStatus.") for end in ends)
    assert not any(re.search(r"sys\.exit|SystemExit", source) for source in sources)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_succeeds_and_a_wrong_option_is_rejected(name):
    helped = invoke(*name.split(), "--help")
    assert helped.exit_code == 0
    wrong = invoke(*name.split(), "--no-such-option")
    assert wrong.exit_code == ExitStatus.REJECTED
    assert not wrong.stdout
    text = " ".join(helped.output.split())
    said = re.search(r"Exit status: (.*?)\.(?: |$)", text)
    assert {int(status) for status in re.findall(r"(\d)(?= when)", said[1] if said else "")} - {0} == STATUSES[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_options_for_programs_are_documented(name):
    options = {option: parameter for parameter in COMMANDS[name].params for option in parameter.opts}
    *_, forms, file = DOCUMENTED[name]
    output = inspect.signature(COMMANDS[name].callback).parameters.get("output")
    assert forms == ("" if output is None else ", ".join(type(output.default)))
    assert bool(forms) == ("--format" in options) or name in ("export", "parity"), "which name the model's format"
    as_json = options.get("--json")
    assert file == ("" if as_json is None else "flag" if as_json.is_flag else "FILE")


@pytest.mark.parametrize("group", ["", "data", "runs", "scores", "registry"])
def test_the_list_of_commands_shows_whole_sentences(group):
    shown = invoke(*group.split(), "--help").output
    listed = shown.partition("Commands:")[2].partition("Examples:")[0].strip().splitlines()
    assert len(listed) >= 3
    assert all(line.endswith(".") and not line.endswith("..") for line in listed), listed


# ── each documented status, provoked ─────────────────────────────────────────────────────────────────────────────

Provocation = Callable[..., Result]
PROVOKED: dict[tuple[str, int], Provocation] = {}


def provokes(name: str, status: int) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        PROVOKED[name, status] = provocation
        return provocation

    return register


def test_every_documented_status_is_provoked():
    assert set(PROVOKED) == {(name, status) for name, statuses in STATUSES.items() for status in statuses}


@pytest.fixture
def given(tiny, tmp_path, monkeypatch, measured, report_of):
    """What the provocations need: a folder, a place for patches, and makers of reports."""
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.delenv("DEEPFAKE_REGISTRY_KEY", raising=False)
    return {"folder": tmp_path, "patch": monkeypatch.setattr, "measured": measured, "report_of": report_of}


def unfit(folder: Path) -> Path:
    """A dataset that is not fit for use: one of its files is no image."""
    return write(folder / "set", {"real/r.jpg": jpeg(1), "real/bad.jpg": b"no image", "fake/f.jpg": jpeg(2)})


def pushed(folder: Path) -> None:
    model = write_package(folder / "model", read_bare(MODEL).manifest, {"onnx": MODEL})
    done = invoke("registry", "push", model.folder)
    assert done.exit_code == 0, done.output


@provokes("predict", 3)
def _(folder, **_given):
    return invoke("predict", folder / "missing.jpg", "--detector", "tiny")


@provokes("explain", 3)
def _(folder, **_given):
    return invoke("explain", folder / "missing.jpg", "--detector", "tiny", "--out", folder / "out")


@provokes("protect", 3)
def _(folder, patch, **_given):
    patch("deepfake_core.protect.protectors.load_protector", lambda _loaded: None)
    return invoke("protect", folder, "--detector", "tiny", "--out", folder / "out")


@provokes("run", 1)
def _(folder, **_given):
    (folder / "real").mkdir()
    return invoke("run", "--detector", "tiny", "--scenario", "accuracy", "--dataset", folder)


@provokes("compare", 1)
def _(folder, measured, report_of, **_given):
    for name, ms in (("before", 10.0), ("after", 30.0)):
        report_of(measured(samples={"latency_ms": [ms] * 30})).write(folder / f"{name}.json")
    return invoke("compare", folder / "before.json", folder / "after.json")


@provokes("compare", 2)
def _(folder, measured, report_of, **_given):
    for name in ("one", "two"):
        report_of(measured(samples={"latency_ms": [10.0] * 30}), cpu=f"CPU {name}").write(folder / f"{name}.json")
    return invoke("compare", folder / "one.json", folder / "two.json")


@provokes("leave-one-out", 1)
def _(folder, **_given):
    pytest.importorskip("torch")
    import_module("left_out_results").write_results(folder, 1.0)
    return invoke("leave-one-out", "--run-dir", folder, "--bound-auc", 1)


@provokes("card", 1)
def _(folder, patch, measured, report_of, **_given):
    def all_failed(jobs):
        return report_of(*(measured(job.scenario, status="failed", reason="broken") for job in jobs))

    patch("deepfake_bench.card.card.blocks_of", lambda _page: {})
    patch("deepfake_bench.card.card.fill", lambda _page, _findings: None)
    patch("deepfake_bench.card.findings.read_validation", lambda _run: None)
    patch("deepfake_bench.cli.measure.card._measured", all_failed)
    return invoke("card", "tiny", "--page", folder / "CARD.md", "--dataset", PLUMBING.path, "--validation", folder)


@provokes("promote", 2)
def _(folder, patch, measured, report_of, **_given):
    pushed(folder)
    report_of(measured()).write(folder / "report.json")
    patch("deepfake_core.discovery.plugins.detector_spec", lambda _name: type("Spec", (), {"targets": ()}))
    patch("deepfake_bench.registry.promotion.own_measurements", lambda *_arguments: [])
    patch("deepfake_bench.registry.promotion.obstacles", lambda *_arguments: ["auc is missed"])
    return invoke("promote", "tiny@1", "--to", "production", "--report", folder / "report.json")


@provokes("data check", 2)
def _(folder, **_given):
    return invoke("data", "check", unfit(folder))


@provokes("data manifest", 2)
def _(folder, **_given):
    dataset = unfit(folder)
    assert invoke("data", "manifest", dataset, "--out", folder / "m.csv").exit_code == 0
    (dataset / "real" / "r.jpg").write_bytes(jpeg(9))
    return invoke("data", "manifest", dataset, "--verify", folder / "m.csv")


@provokes("data shortcuts", 1)
def _(folder, patch, **_given):
    finding = Finding("a", "sharpness_1", Auc(0.9, 0.8, 0.95, True))
    found = Shortcuts((SourceAudit("a", 30, 30, findings=(finding,), together=Auc(0.9, 0.8, 0.95, True)),))
    patch("deepfake_core.data.audit.run.audited", lambda *_arguments, **_options: found)
    return invoke("data", "shortcuts", pictures(folder / "set", 2))


@provokes("data prepare", 2)
def _(folder, **_given):
    return invoke("data", "prepare", unfit(folder), "--check-only")


@provokes("registry build", 1)
def _(folder, patch, **_given):
    pytest.importorskip("torch")

    def fail(_name):
        raise DeepfakeError("no weights")

    patch("deepfake_bench.cli.registry.build.trained_model", fail)
    (folder / "recipes.toml").write_text('[tiny]\nformat = "onnx"\nprecision = "fp32"\n')
    return invoke("registry", "build", folder / "recipes.toml")


@provokes("registry verify", 2)
def _(folder, **_given):
    pushed(folder)
    blobs = [file for file in (folder / "registry" / "blobs").rglob("*") if file.is_file()]
    next(file for file in blobs if file.read_bytes() == MODEL.read_bytes()).write_bytes(b"damaged")
    return invoke("registry", "verify")


@provokes("registry check-signature", 2)
def _(folder, **_given):
    pytest.importorskip("model_signing")
    pushed(folder)
    (folder / "public.pem").write_text("-----BEGIN PUBLIC KEY-----")
    return invoke("registry", "check-signature", "tiny@1", "--key", folder / "public.pem")


@pytest.mark.parametrize(("name", "status"), sorted(PROVOKED), ids=lambda part: str(part).replace(" ", "-"))
def test_a_documented_status_is_returned(given, name, status):
    done = PROVOKED[name, status](**given)
    assert done.exit_code == status, done.output
    assert not isinstance(done.exception, DeepfakeError), "an error of the project is reported in one line"
    assert done.stdout or done.stderr, "the reason is shown"


# ── --json - ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def scores(tmp_path):
    """A CSV file of scores, and one of metadata."""
    head = "path,source,group,variant,fake,p_fake,verdict,error"
    rows = [f"{i}.jpg,{'ab'[i % 2]},,,{i % 4 // 2},{0.1 + i / 50},fake," for i in range(32)]
    (tmp_path / "scores.csv").write_text("\n".join([head, *rows]) + "\n")
    (tmp_path / "people.csv").write_text("path,tone\n" + "".join(f"{i}.jpg,{'xy'[i // 16]}\n" for i in range(32)))
    return tmp_path


@pytest.mark.parametrize(
    ("command", "beside"),
    [
        (("data", "check", "SET"), "6 of 6 files looked into: fit for use"),
        (("data", "stats", "SET"), "no shortcut"),
        (("scores", "versus", "scores.csv", "scores.csv"), "difference"),
        (("scores", "subgroups", "scores.csv", "people.csv", "--column", "tone"), "real/fake"),
        (("scores", "cross", "scores.csv"), "fakes of"),
        (("run", "--detector", "tiny", "--scenario", "single_stream", "--seconds", "0.05", "--csv", "f.csv"), "f.csv"),
    ],
    ids=lambda part: "-".join(part[:2]) if isinstance(part, tuple) else "",
)
def test_json_on_standard_output_is_alone_there(tiny, scores, monkeypatch, command, beside):
    monkeypatch.chdir(scores)
    pictures(scores / "SET", 3)
    done = invoke(*command, "--json", "-")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)
    assert beside in done.stderr
    assert not Path("-").exists()
    to_file = invoke(*command, "--json", "found.json")
    assert beside in to_file.stdout
    if command[0] != "run":
        assert Path("found.json").read_text() == done.stdout


def test_runs_list_prints_the_same_json_by_both_options(tmp_path):
    (tmp_path / "runs").mkdir()
    flag, form = (invoke("runs", "list", tmp_path / "runs", *words) for words in (["--json"], ["--format", "json"]))
    assert (flag.exit_code, flag.stdout) == (form.exit_code, form.stdout) == (0, "[]\n")
