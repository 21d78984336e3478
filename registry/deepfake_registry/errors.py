"""The errors that the project raises on purpose.

Their class hierarchy::

    DeepfakeError
    ├── UnknownDetector      no plugin offers the name (close matches are suggested)
    ├── PluginLoadError      a plugin was found but could not be imported or registered
    ├── DuplicatePlugin      two distributions offer the same name
    ├── MissingExtra         an optional dependency is absent; the message is the pip line
    │   └── MissingExtras    several are, and one line brings them all
    ├── WeightsUnavailable   a detector has no weights here; the message says how to get them
    ├── InputError           one input cannot be processed; the message names it and says why
    ├── ArtifactCorrupt      a model file is damaged, or was not written by this project
    ├── RegistryError        a model, version or alias is missing, exists already, or cannot be written
    ├── SignatureRefused     a required signature is missing or is by another key
    ├── ParityError          an export disagrees with the network that it was made from
    ├── TargetMissed         a documented target is not met
    └── TrainingDataError    training data is missing, ambiguous or leaks

The command line prints the message in one line and exits with status 2; ``--debug`` shows the traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class DeepfakeError(Exception):
    """Base class of all errors; the message says what happened and what to do next."""


class UnknownDetector(DeepfakeError):
    """No installed plugin offers the detector that was asked for."""


class PluginLoadError(DeepfakeError):
    """A plugin was found but could not be imported or registered."""


class DuplicatePlugin(DeepfakeError):
    """Two distributions offer a record of the same kind under the same name."""


class MissingExtra(DeepfakeError):
    """An optional dependency is absent.

    Args:
        what: Capability that needs it, such as ``"training"``.
        install: Requirement that brings it, such as ``"deepfake-core[torch]"``.
        options: Options of ``pip install`` that the requirement needs.
    """

    def __init__(self, what: str, install: str, options: str = "") -> None:
        super().__init__(what, install, options)  # all arguments, so that the error can be pickled
        self.what = what
        self.install = install
        self.options = options

    @property
    def missing(self) -> tuple[MissingExtra, ...]:
        """Everything that is absent, one by one."""
        return (self,)

    def __str__(self) -> str:
        return f"{self.what} needs an optional dependency; run: pip install {self.options}'{self.install}'"


class MissingExtras(MissingExtra):
    """Several optional dependencies are absent.

    Args:
        missing: What is absent, one or more.
    """

    def __init__(self, *missing: MissingExtra) -> None:
        what = list(dict.fromkeys(one.what for one in missing))
        super().__init__(" and ".join([", ".join(what[:-1]), what[-1]] if len(what) > 1 else what), missing[0].install)
        self.args = missing  # so that the error can be pickled

    @property
    def missing(self) -> tuple[MissingExtra, ...]:
        return self.args

    def __str__(self) -> str:
        wanted: dict[str, list[str]] = {}
        for one in sorted(self.missing, key=lambda one: one.options):
            if one.install not in wanted.setdefault(one.options, []):
                wanted[one.options].append(one.install)
        quoted = {options: " ".join(f"'{one}'" for one in found) for options, found in wanted.items()}
        lines = [f"pip install {options}{found}" for options, found in quoted.items()]
        need = "need" if len({one.what for one in self.missing}) > 1 else "needs"
        return f"{self.what} {need} optional dependencies; run: {' && '.join(lines)}"


def refuse_missing(missing: Sequence[MissingExtra]) -> None:
    """Raise what is absent as one error; nothing where nothing is absent.

    Raises:
        MissingExtra: Something is absent.
    """
    if missing:
        raise missing[0] if len(missing) == 1 else MissingExtras(*missing)


class WeightsUnavailable(DeepfakeError):
    """A detector has no weights here; the message says how to get them.

    Args:
        reason: Description of what is missing, and the first remedy.
        others: Other remedies.
    """

    def __init__(self, reason: str, *others: str) -> None:
        super().__init__(reason, *others)  # all arguments, so that the error can be pickled
        self.reason = reason
        self.others = others

    def __str__(self) -> str:
        return "; or ".join((self.reason, *self.others))


class InputError(DeepfakeError):
    """One input cannot be processed.

    Args:
        source: Input as the user named it (a path, ``"<bytes>"``, ``"<array>"``, …).
        reason: Description of what is wrong with it, and a remedy.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)  # all arguments, so that the error can be pickled
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class ArtifactCorrupt(DeepfakeError):
    """A model file is damaged or incomplete, or was not written by this project."""


class RegistryError(DeepfakeError):
    """A model, version or alias is missing from a registry or exists already, or the registry cannot be reached."""


class SignatureRefused(DeepfakeError):
    """A signature by the trusted key is required, and there is none."""


class ParityError(DeepfakeError):
    """An exported model disagrees with the network that it was made from."""


class TargetMissed(DeepfakeError):
    """A documented target is not met."""


class TrainingDataError(DeepfakeError):
    """Training data is missing, ambiguous, or leaks between splits."""
