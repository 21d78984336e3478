"""Read the TOML file that says in which format and precision each detector is built and published."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError, model_validator

from deepfake_core.errors import DeepfakeError
from deepfake_exports.request import OFFERED, Precision
from deepfake_registry.manifest import Frozen


class ExportRecipe(Frozen):
    """The format and precision in which a detector is published.

    Attributes:
        format: Format, one of :data:`~deepfake_exports.request.OFFERED`.
        precision: Precision that the format offers.
    """

    format: str = "onnx"
    precision: Precision = "fp32"

    @model_validator(mode="after")
    def _offered(self) -> ExportRecipe:
        if self.precision not in OFFERED.get(self.format, ()):
            offers = "; ".join(f"{format}: {', '.join(offered)}" for format, offered in OFFERED.items())
            raise ValueError(f"{self.format} in {self.precision} is not offered; there are {offers}")
        return self


def read_recipes(file: Path) -> dict[str, ExportRecipe]:
    """Read a file of recipes, and return them by the detector's name.

    Raises:
        DeepfakeError: The file cannot be read, or a recipe is not valid.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        return {name: ExportRecipe.model_validate(table) for name, table in tables.items()}
    except ValidationError as error:
        first = error.errors()[0]
        raise DeepfakeError(f"{file}: {first['msg']} ({first['input']})") from error
    except (OSError, ValueError) as error:
        raise DeepfakeError(f"{file}: no export recipes ({error})") from error
