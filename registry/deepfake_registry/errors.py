"""Every error that the project raises on purpose.

The tree::

    DeepfakeError
    ├── UnknownDetector      no plugin offers that name (close matches are named)
    ├── PluginLoadError      a plugin was found but could not be imported or registered
    ├── DuplicatePlugin      two distributions offer the same name
    ├── MissingExtra         an optional dependency is absent; the message is the pip line
    ├── WeightsUnavailable   no weights for a detector; how to train, pull or download them
    ├── InputError           one input cannot be judged: which file, and why
    ├── ArtifactCorrupt      a model file is damaged, or is not one of ours
    ├── RegistryError        a model, version or alias is not in the registry, is there already, or cannot be written
    ├── SignatureRefused     a signature that is required is missing, or by another key
    ├── ParityError          an export disagrees with the network it came from
    ├── TargetMissed         a documented target does not hold
    └── TrainingDataError    training data is missing, ambiguous or leaks

The command line prints the message in one line and exits with status 2; ``--debug`` shows the traceback.
"""

from __future__ import annotations


class DeepfakeError(Exception):
    """Base of every error raised on purpose; its message says what happened and what to do next."""


class UnknownDetector(DeepfakeError):
    """No installed plugin offers the detector that was asked for."""


class PluginLoadError(DeepfakeError):
    """A plugin was found but could not be imported or registered."""


class DuplicatePlugin(DeepfakeError):
    """Two distributions offer a record of the same kind under the same name."""


class MissingExtra(DeepfakeError):
    """An optional dependency is absent.

    Args:
        what: The capability that needs it, such as ``"training"``.
        install: The requirement that brings it, such as ``"deepfake-core[torch]"``.
        options: Options of ``pip install`` that go with it.
    """

    def __init__(self, what: str, install: str, options: str = "") -> None:
        super().__init__(what, install, options)  # all arguments, so that the error survives a trip between processes
        self.what = what
        self.install = install
        self.options = options

    def __str__(self) -> str:
        return f"{self.what} needs an optional dependency; run: pip install {self.options}'{self.install}'"


class WeightsUnavailable(DeepfakeError):
    """A detector has no weights here; the message says how to get them.

    Args:
        reason: What is missing, and what helps first.
        others: What else would help.
    """

    def __init__(self, reason: str, *others: str) -> None:
        super().__init__(reason, *others)  # all arguments, so that the error survives a trip between processes
        self.reason = reason
        self.others = others

    def __str__(self) -> str:
        return "; or ".join((self.reason, *self.others))


class InputError(DeepfakeError):
    """One input cannot be judged.

    Args:
        source: The input as the user named it (a path, ``"<bytes>"``, ``"<array>"``, …).
        reason: What is wrong with it, and what would help.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)  # all arguments, so that the error survives a trip between processes
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class ArtifactCorrupt(DeepfakeError):
    """A model file is damaged, incomplete or not one of ours."""


class RegistryError(DeepfakeError):
    """The registry has no such model, version or alias, has another under that name, or cannot be reached."""


class SignatureRefused(DeepfakeError):
    """A signature is required, and there is none by the trusted key."""


class ParityError(DeepfakeError):
    """An exported model disagrees with the network that it came from."""


class TargetMissed(DeepfakeError):
    """A documented target does not hold."""


class TrainingDataError(DeepfakeError):
    """Training data is missing, ambiguous, or leaks between splits."""
