"""What the documentation says holds for the code."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import make_verdict_picture
import numpy as np
import pytest
import typer
from PIL import Image

import deepfake_core as df
import published_code
from deepfake_bench.cli import app
from deepfake_bench.records.targets import dataset_of
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_core.contract import hookspecs
from deepfake_core.contract.specs import Target

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
    *sorted((ROOT / "exports").glob("*.md")),
]
PORTRAIT = ROOT / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def shell_commands(program: str) -> list[tuple[str, list[str]]]:
    """``(page, words)`` of each command of ``program`` in a shell block of any page."""
    found = []
    for page in PAGES:
        for line in "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for start in (i for i, word in enumerate(words) if word == program):
                end = next((i for i in range(start, len(words)) if words[i] in {"&&", "|", ">"}), len(words))
                found.append((page.name, words[start + 1 : end]))
    return found


def test_the_readme_opens_with_a_light_start_one_line_to_run_and_one_to_test():
    light, run, test = (block.splitlines() for block in blocks(ROOT / "README.md", "sh")[:3])
    assert light[0].endswith("pip install . ./plugins/deepfake-lite")
    assert light[1:] == ["dfbench predict photo.jpg"]
    assert len(run) == len(test) == 1
    assert run[0].endswith("dfbench run --device cpu")
    assert test[0].endswith("&& tox")


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_python_in_the_documentation_runs(page, tmp_path):
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    (tmp_path / "holiday").mkdir()
    shutil.copy(PORTRAIT, tmp_path / "holiday" / "1.jpg")
    (code,) = blocks(ROOT / page, "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"(real|fake|unsure) [\d.e-]+ Box\(", done.stdout)


def test_the_loaded_detector_of_the_concepts_runs(tmp_path, monkeypatch):
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    (tmp_path / "holiday").mkdir()
    shutil.copy(PORTRAIT, tmp_path / "holiday" / "1.jpg")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(ROOT / "docs" / "concepts.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert [result.source for result in names["results"]] == ["photo.jpg", str(Path("holiday", "1.jpg"))]
    assert names["record"]["p_fake"] == names["result"].p_fake == names["results"][0].p_fake
    assert names["explanation"].heat.values.shape == names["explanation"].face.crop.shape[:2]


def test_the_pages_show_the_programs_that_the_tests_run():
    pages = dict(published_code.filled_pages(ROOT))
    for page, text in pages.items():
        assert page.read_text(encoding="utf-8") == text, f"{page}: run: python benchmarks/publish.py --pages"
    shown = "".join(pages.values())
    for file in ((ROOT / "docs" / "snippets").iterdir(), (ROOT / "plugins" / "_template").rglob("*.py")):
        for name in (path.relative_to(ROOT).as_posix() for path in file if path.name != "__init__.py"):
            assert f"<!-- code: {name} -->" in shown, name


def test_faces_are_cut_out_as_the_documentation_says(tmp_path):
    snippet = ROOT / "docs" / "snippets" / "cut_faces.py"
    subprocess.run([sys.executable, snippet, "lite", PORTRAIT], cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["face-0.png"]
    detector = df.load("lite")
    with Image.open(tmp_path / "face-0.png") as face:
        outputs = detector.score(np.asarray(face)[None])
    p_fake = detector.manifest.calibration.p_fake(float(outputs.logit[0]))
    assert p_fake == pytest.approx(detector.predict(PORTRAIT).p_fake, abs=1e-6)


def test_pictures_are_judged_by_the_server_of_the_documentation(tmp_path):
    server = [sys.executable, ROOT / "docs" / "snippets" / "serve.py", "0"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as running:
        try:
            address = running.stdout.readline().strip()
            with urllib.request.urlopen(address, PORTRAIT.read_bytes()) as answer:
                assert json.load(answer)["verdict"] == "real"
            with pytest.raises(urllib.error.HTTPError, match="422") as refused:
                urllib.request.urlopen(address, b"no picture")
            with refused.value as answer:
                assert json.load(answer)["error"]
        finally:
            running.terminate()


@pytest.mark.torch
def test_the_loss_of_the_documentation_leaves_unknown_masks_out():
    import torch

    names: dict[str, Any] = {}
    exec(blocks(ROOT / "docs" / "training.md", "python")[-1], names)
    detector = names["Located"]()
    batch = {"fake": torch.tensor([1.0, 0.0]), "weight": torch.ones(2)}
    output = torch.zeros(2), torch.zeros(2, *detector.evidence_size)
    plain = detector.loss(output, batch)
    unknown = torch.full((2, *detector.evidence_size), torch.nan)
    assert detector.loss(output, batch | {"mask": unknown}) == plain
    assert detector.loss(output, batch | {"mask": torch.zeros_like(unknown)}) > plain


def test_commands_in_the_documentation_exist():
    group = typer.main.get_command(app)
    commands = shell_commands("dfbench")
    assert len(commands) >= 10
    for page, arguments in commands:
        command, words = group, arguments
        while hasattr(command, "commands"):
            name, *words = words
            assert name in command.commands, f"{page}: dfbench {' '.join(arguments)}"
            command = command.commands[name]
        options = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        } | {"--help"}
        for word in words:
            if word.startswith("--"):
                assert word in options, f"{page}: dfbench {' '.join(arguments)}"


def test_extras_in_the_documentation_exist():
    extras = {}
    for project in (ROOT, *(ROOT / "plugins").glob("deepfake-*")):
        table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras[table["name"]] = set(table["optional-dependencies"])
    for page in PAGES:
        for name, extra in re.findall(rf"({'|'.join(extras)})\[(\w+)\]", page.read_text(encoding="utf-8")):
            assert extra in extras[name], f"{page.name}: {name}[{extra}]"


def test_hook_signatures_in_the_documentation_are_those_of_the_code():
    page = (ROOT / "docs" / "write-a-detector.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^def deepfake_\w+\(.*[^:\n]$", page, re.MULTILINE))
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("deepfake_")}
    assert documented == {f"def {name}{inspect.signature(hook)}".replace("'", "") for name, hook in hooks.items()}
    for hook in hooks.values():
        assert "Example::" in hook.__doc__


def test_the_picture_of_a_verdict_shows_what_the_command_prints(tmp_path):
    made = make_verdict_picture.terminal(make_verdict_picture.output(tmp_path))
    shown = (ROOT / "docs" / "assets" / "verdict.svg").read_text(encoding="utf-8")
    texts = [re.findall(r"<text [^>]*>([^<]*)</text>", picture) for picture in (shown, made)]
    assert texts[0] == texts[1], "run: python benchmarks/pictures/make_verdict_picture.py"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site both form them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_in_the_repository(page):
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", prose(page))
    for target, _, anchor in ("".join(link).partition("#") for link in links):
        if target.startswith(("https://", "http://")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_the_pages_need_no_build():
    for page in PAGES:
        assert "--8<--" not in page.read_text(encoding="utf-8"), page


def test_the_targets_of_the_guide_are_targets():
    text = blocks(ROOT / "docs" / "write-a-detector.md", "toml")[-1]
    targets = [Target(**table) for table in tomllib.loads(text)["target"]]
    assert {target.scenario for target in targets} <= SCENARIOS.keys()
    assert dataset_of(targets[0]) == "evaluation"
