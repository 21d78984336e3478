"""How an ensemble is written down: ``ensemble.json`` names its members, whose model files stay where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from deepfake_core.discovery.artifacts import ENSEMBLE_FILE
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError
from deepfake_registry.manifest import Calibration, Frozen

if TYPE_CHECKING:
    from deepfake_core.handle.predictor import Predictor


class Member(Frozen):
    """One member as it is written down.

    Attributes:
        origin: Arguments of :func:`deepfake_core.load`; a path is relative to the ensemble's folder.
        name, version: Of its manifest.
        files: sha256 of its model files, by format.
    """

    origin: dict[str, str]
    name: str
    version: str
    files: dict[str, str] = {}

    @classmethod
    def of(cls, member: Predictor, folder: Path) -> Member:
        """A member of the ensemble that is written to a folder.

        Raises:
            DeepfakeError: It was made by hand and cannot be loaded again.
        """
        if not member.origin:
            raise DeepfakeError(
                f"{member.manifest.name!r} was not loaded by name or path, and could not be found again"
            )
        origin = {key: _to_file(value, folder) for key, value in member.origin.items()}
        return cls(origin=origin, name=member.manifest.name, version=member.manifest.version, files=hashes_of(member))

    def found_from(self, folder: Path) -> dict[str, str]:
        """The arguments of :func:`deepfake_core.load`, for an ensemble in a folder."""
        return {key: _from_file(value, folder) for key, value in self.origin.items()}

    def check(self, member: Predictor, folder: Path) -> None:
        """Refuse what was loaded where it is another model by now.

        Raises:
            DeepfakeError: It is.
        """
        found = hashes_of(member)
        other = [format for format, sha256 in self.files.items() if found.get(format, sha256) != sha256]
        if member.manifest.version != self.version or other:
            raise DeepfakeError(
                f"{folder / ENSEMBLE_FILE}: its member {self.name!r} was version {self.version} and is "
                f"{member.manifest.version} now{', with another model file' if other else ''}; bring that version "
                "back, or make the ensemble again: dfbench ensemble"
            )


class Stored(Frozen):
    """The content of ``ensemble.json``."""

    schema_version: Literal[1] = 1
    name: str
    members: tuple[Member, ...] = Field(min_length=2)
    weights: tuple[float, ...]
    calibration: Calibration = Calibration()
    metrics: dict[str, Any] = {}


def read_stored(folder: Path) -> Stored:
    """What ``ensemble.json`` says.

    Raises:
        ArtifactCorrupt: It is missing or cannot be read.
    """
    file = folder / ENSEMBLE_FILE
    try:
        return Stored.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ArtifactCorrupt(f"{folder}: not an ensemble, {ENSEMBLE_FILE}: {error.strerror}") from error
    except ValidationError as error:
        raise ArtifactCorrupt(f"{file}: is not valid: {error.errors()[0]['msg']}; make the ensemble again") from error


def hashes_of(member: Predictor) -> dict[str, str]:
    """sha256 of a member's model files by format: all of its package, or the one file that runs."""
    listed = {format: reference.sha256 for format, reference in member.manifest.files.items()}
    return listed or {artifact.format: artifact.sha256 for artifact in member.artifacts}


def _to_file(value: str, folder: Path) -> str:
    """A path relative to the ensemble's folder, so that both can be moved together; a name as it is."""
    return f"./{Path(os.path.relpath(value, folder.resolve())).as_posix()}" if Path(value).is_absolute() else value


def _from_file(value: str, folder: Path) -> str:
    return str((folder / value).resolve()) if value.startswith("./") else value
