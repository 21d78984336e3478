"""The settings that a run was started with, from its ``config.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from deepfake_core.contract.recipe import OF_MACHINE, TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.settings import validated
from deepfake_core.training.runs.files import first_line

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class StoredRun:
    """How a run was started.

    Attributes:
        detector: Name of the detector.
        config: Hyper-parameters of the detector.
        recipe: The whole recipe.
        data: Training data as the user named them; ``None`` where they were not given as text.
        valid: Validation data; ``None`` where they are a share of the training data.
        test: Test data; ``None`` where none were named.
    """

    detector: str
    config: Mapping[str, Any]
    recipe: TrainRecipe
    data: str | None = None
    valid: str | None = None
    test: str | None = None


def read_run(run_dir: Path) -> StoredRun | None:
    """Return how the run in a folder was started; ``None`` where the folder holds no run.

    Raises:
        DeepfakeError: The run's ``config.yaml`` is damaged, or was written by another version.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        return None
    stored = read_config(run_dir)
    if not (isinstance(stored.get("recipe"), dict) and isinstance(stored.get("detector"), str)):
        raise DeepfakeError(f"{path}: names no detector and recipe; start a new run in another folder")
    return StoredRun(
        detector=stored["detector"],
        config=stored.get("config") or {},
        recipe=validated(TrainRecipe, stored["recipe"], str(path)),
        **{name: stored[name] for name in ("data", "valid", "test") if stored.get(name)},
    )


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the settings of a run from its ``config.yaml``, as plain values.

    Raises:
        DeepfakeError: The file does not exist or is damaged.
    """
    file = Path(folder) / "config.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DeepfakeError(f"{folder}: holds no run (no {file.name}); name the folder of a run") from None
    except (OSError, ValueError) as error:
        raise DeepfakeError(f"{file}: cannot be read ({first_line(error)}); restore it, or begin a new run") from error
    # Imported here: what lists and removes runs works in the base install, which has no reader of YAML.
    from deepfake_core.training.recipes.yaml_files import parse_stored_yaml

    try:
        found = parse_stored_yaml(text, str(file))
    except DeepfakeError as error:
        raise DeepfakeError(f"{error}; restore it, or begin a new run") from error
    if not isinstance(found, dict):
        raise DeepfakeError(f"{file}: holds no settings; restore it, or begin a new run")
    return found


def with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with a complete recipe.

    A run may have begun before the recipe had all of today's settings; they get their defaults.
    """
    try:
        recipe = TrainRecipe.model_validate(settings.get("recipe")).model_dump(mode="json")
    except ValidationError:
        return dict(settings)
    return {**settings, "recipe": recipe}


def without_machine(recipe: Any) -> Any:
    """Return a recipe as plain values without the settings that belong to the machine."""
    return (
        {key: value for key, value in recipe.items() if key not in OF_MACHINE} if isinstance(recipe, dict) else recipe
    )
