"""The file ``ensemble.json``, which names the members of an ensemble; their model files stay in their place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, field_validator

from deepfake_core.discovery.artifacts import ENSEMBLE_FILE
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError
from deepfake_registry.manifest import Calibration, Frozen

if TYPE_CHECKING:
    from deepfake_core.handle.predictor import Predictor

_ORIGIN = ("name_or_path", "weights")
"""Arguments of :func:`deepfake_core.load` that say which model a member is. No file may set any other one."""


class Member(Frozen):
    """Entry of a member in ``ensemble.json``.

    Attributes:
        origin: Arguments of :func:`deepfake_core.load`; a path is relative to the folder of the ensemble.
        name: Name in the manifest of the member.
        version: Version in the manifest of the member.
        files: SHA-256 of the model files of the member, by format.
    """

    origin: dict[str, str]
    name: str
    version: str
    files: dict[str, str] = {}

    @field_validator("origin")
    @classmethod
    def _names_a_model(cls, origin: dict[str, str]) -> dict[str, str]:
        foreign = sorted(origin.keys() - set(_ORIGIN))
        if foreign or _ORIGIN[0] not in origin:
            raise ValueError(
                f"the origin of a member has {' and '.join(_ORIGIN)}, not {', '.join(foreign) or 'neither'}"
            )
        return origin

    @classmethod
    def of(cls, member: Predictor, folder: Path) -> Member:
        """Describe a member for the ensemble that is written to a folder.

        Raises:
            DeepfakeError: The member was not loaded by name or path, so that it cannot be loaded again.
        """
        if not member.origin:
            raise DeepfakeError(
                f"{member.manifest.name!r} was not loaded by name or path, and could not be found again"
            )
        origin = {key: _to_file(value, folder) for key, value in member.origin.items()}
        return cls(origin=origin, name=member.manifest.name, version=member.manifest.version, files=hashes_of(member))

    def found_from(self, folder: Path) -> dict[str, str]:
        """Return the arguments of :func:`deepfake_core.load` for this member of an ensemble in a folder.

        Raises:
            ArtifactCorrupt: The member is an ensemble itself.
        """
        found = {key: _from_file(value, folder) for key, value in self.origin.items()}
        if Path(found["name_or_path"], ENSEMBLE_FILE).is_file():
            raise ArtifactCorrupt(
                f"{folder / ENSEMBLE_FILE}: its member {self.name!r} is an ensemble itself; make it of single detectors"
            )
        return found

    def check(self, member: Predictor, folder: Path) -> None:
        """Check that a member that was loaded again is still the same model.

        Raises:
            DeepfakeError: Its version or one of its model files has changed.
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
    """Content of ``ensemble.json``.

    Attributes:
        schema_version: Version of the file format.
        name: Name of the ensemble.
        members: Members of the ensemble, at least two.
        weights: Weight of each member.
        calibration: Calibration of the weighted mean of the members' calibrated logits.
        metrics: Metrics of the fit; empty if the weights were not fitted.
    """

    schema_version: Literal[1] = 1
    name: str
    members: tuple[Member, ...] = Field(min_length=2)
    weights: tuple[float, ...]
    calibration: Calibration = Calibration()
    metrics: dict[str, Any] = {}


def read_stored(folder: Path) -> Stored:
    """Read ``ensemble.json`` in a folder.

    Raises:
        ArtifactCorrupt: The file is missing or cannot be read.
    """
    file = folder / ENSEMBLE_FILE
    try:
        return Stored.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ArtifactCorrupt(f"{folder}: not an ensemble, {ENSEMBLE_FILE}: {error.strerror}") from error
    except ValidationError as error:
        raise ArtifactCorrupt(f"{file}: is not valid: {error.errors()[0]['msg']}; make the ensemble again") from error


def hashes_of(member: Predictor) -> dict[str, str]:
    """Return the SHA-256 of a member's model files by format: of its whole package, or of the file that runs."""
    listed = {format: reference.sha256 for format, reference in member.manifest.files.items()}
    return listed or {artifact.format: artifact.sha256 for artifact in member.artifacts}


def _to_file(value: str, folder: Path) -> str:
    """Make an absolute path relative to the folder of the ensemble, so that both can be moved together; keep a name."""
    if not Path(value).is_absolute():
        return value
    try:
        return f"./{Path(os.path.relpath(value, folder.resolve())).as_posix()}"
    except ValueError:  # another drive of Windows
        return value


def _from_file(value: str, folder: Path) -> str:
    return str((folder / value).resolve()) if value.startswith("./") else value
