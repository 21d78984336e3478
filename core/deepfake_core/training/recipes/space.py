"""Search spaces: the settings of a recipe or a detector that a search varies, and the range of each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.yaml_files import parse_yaml

if TYPE_CHECKING:
    from optuna import Trial

Kind = Literal["log", "float", "int", "choice"]
Scalar = bool | int | float | str | None

FIXED = (
    "allow_shared_identities",
    "data_share",
    "eval_every",
    "explain",
    "leave_out",
    "max_images",
    "mode",
    "monitor",
    "overfit",
    "pairs.kinds",
    "pairs.validation",
    "samples",
    "seed",
    "validation_share",
)
"""Settings that decide which data are validated, by which metric or how often.

Trials that differ in one of them cannot be compared, so a search must not vary them.
"""

FREE = re.compile(r"pairs\.kinds\.\d+\.share")
"""Settings within those of :data:`FIXED` that a search may vary: they decide the training alone."""


@dataclass(frozen=True)
class Dimension:
    """One setting that a search varies.

    Attributes:
        key: Dotted name of the setting, as ``--set`` takes it.
        kind: ``log``: a number whose logarithm is uniform between the bounds. ``float``: a number. ``int``: an integer.
            ``choice``: one of the given values.
        low: Lower bound, included.
        high: Upper bound, included.
        choices: Values of a ``choice``.
    """

    key: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Scalar, ...] = ()

    def suggest(self, trial: Trial) -> Scalar:
        """Return Optuna's value for one trial."""
        value: Scalar
        if self.kind == "choice":
            value = trial.suggest_categorical(self.key, self.choices)
        elif self.kind == "int":
            value = trial.suggest_int(self.key, int(self.low), int(self.high))
        else:
            value = trial.suggest_float(self.key, self.low, self.high, log=self.kind == "log")
        return value

    @property
    def values(self) -> Sequence[Scalar] | None:
        """Every value, or ``None`` where there are infinitely many."""
        if self.kind == "choice":
            return self.choices
        return range(int(self.low), int(self.high) + 1) if self.kind == "int" else None

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The bounds or the choices; a recipe that accepts them accepts every value of the dimension."""
        if self.kind == "choice":
            return self.choices
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)


def parse_space(texts: Sequence[str]) -> tuple[Dimension, ...]:
    """Read dimensions from ``KEY=log:LOW..HIGH``, ``KEY=float:LOW..HIGH``, ``KEY=int:LOW..HIGH``, ``KEY=choice:A,B,…``.

    Raises:
        DeepfakeError: There is no dimension, a dimension cannot be read or occurs twice, or its setting must not be
            varied (:data:`FIXED`).
    """
    space = tuple(map(_parsed, texts))
    if not space:
        raise DeepfakeError("there is nothing to search: --space KEY=log:1e-5..1e-2, for example")
    keys = [dimension.key for dimension in space]
    if repeated := next((key for key in keys if keys.count(key) > 1), None):
        raise DeepfakeError(f"--space {repeated}: occurs twice")
    return space


def count_points(space: Sequence[Dimension]) -> float:
    """Return the number of points of a space; ``inf`` where a dimension is continuous."""
    return math.prod(math.inf if dimension.values is None else len(dimension.values) for dimension in space)


def as_change(key: str, value: Scalar) -> str:
    """Return a setting and its value as ``--set`` takes them."""
    # JSON is a subset of YAML: numbers, truth values and null keep their types, and text is quoted.
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _parsed(text: str) -> Dimension:
    key, _, definition = text.partition("=")
    kind, colon, values = definition.partition(":")
    if not (key and colon and values and kind in get_args(Kind)):
        raise DeepfakeError(
            f"--space {text}: is not KEY=log:LOW..HIGH, KEY=float:LOW..HIGH, KEY=int:LOW..HIGH or KEY=choice:A,B"
        )
    if not FREE.fullmatch(key) and any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED):
        raise DeepfakeError(f"--space {key}: decides how trials are compared, and must be the same for all of them")
    if kind == "choice":
        choices = parse_yaml(f"[{values}]", f"--space {text}")
        if not all(isinstance(choice, Scalar) for choice in choices):
            raise DeepfakeError(f"--space {text}: choices must be single values")
        if len({(type(choice), choice) for choice in choices}) < len(choices):
            raise DeepfakeError(f"--space {text}: a choice occurs twice")
        return Dimension(key, "choice", choices=tuple(choices))
    low, high = _bounds(text, values, whole=kind == "int")
    if kind == "log" and low <= 0:
        raise DeepfakeError(f"--space {text}: a logarithmic range must begin above 0")
    return Dimension(key, kind, low, high)  # type: ignore[arg-type]


def _bounds(text: str, values: str, *, whole: bool) -> tuple[float, float]:
    low, _, high = values.partition("..")
    bounds = [parse_yaml(bound, f"--space {text}") for bound in (low, high)]
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int if whole else int | float) or not math.isfinite(bound):
            raise DeepfakeError(f"--space {text}: needs two {'whole ' if whole else ''}numbers, as LOW..HIGH")
    if not bounds[0] < bounds[1]:
        raise DeepfakeError(f"--space {text}: LOW must be below HIGH")
    return float(bounds[0]), float(bounds[1])
