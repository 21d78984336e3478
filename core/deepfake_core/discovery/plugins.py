"""Find plugins and what they offer.

Entry points of the group ``deepfake`` name modules that implement :mod:`deepfake_core.contract.hookspecs`. They are
imported on first use, never when this package is. A plugin that cannot be imported or registered is listed in
:func:`failures` and takes no other plugin down; with ``DEEPFAKE_STRICT_PLUGINS=1`` it is an error instead.

Two distributions that offer one name: the name is withheld from the listings, stands in :func:`failures`, and
raises :class:`DuplicatePlugin` when it is asked for. Which of the two ran would otherwise depend on the order of
installation. Every other name stays usable.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, TypeVar

from deepfake_core.contract.hookspecs import MARK
from deepfake_core.contract.specs import (
    API_VERSION,
    DatasetSpec,
    DetectorSpec,
    ExplainerSpec,
    ExporterSpec,
    ProtectorSpec,
)
from deepfake_core.errors import (
    DeepfakeError,
    DuplicatePlugin,
    MissingExtra,
    PluginLoadError,
    TrainingDataError,
    UnknownDetector,
)
from deepfake_registry.paths import why_no_path

GROUP = "deepfake"
STRICT = "DEEPFAKE_STRICT_PLUGINS"

Spec = TypeVar("Spec", DetectorSpec, DatasetSpec, ExplainerSpec, ProtectorSpec, ExporterSpec)


@dataclass(frozen=True, slots=True)
class Registered(Generic[Spec]):
    """A record, and the distribution that it came from."""

    spec: Spec
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A plugin, or one of its records, that cannot be used.

    Attributes:
        name: Name of the entry point, or the name that is claimed twice.
        distribution: Distribution that it came from.
        reason: Reason why it cannot be used, in one line.
    """

    name: str
    distribution: str
    reason: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that the installed plugins offer."""

    detectors: Mapping[str, Registered[DetectorSpec]]
    datasets: Mapping[str, Registered[DatasetSpec]]
    explainers: Mapping[str, Registered[ExplainerSpec]]
    protectors: Mapping[str, Registered[ProtectorSpec]]
    exporters: Mapping[str, Registered[ExporterSpec]]
    failures: tuple[Failure, ...]
    clashes: Mapping[tuple[type[Any], str], str]


@dataclass(frozen=True, slots=True)
class _Plugin:
    """A plugin's module, by its entry point, and its functions that are marked as hooks, by their names."""

    name: str
    distribution: str
    version: str
    hooks: dict[str, Callable[[], Iterable[Any]]]


@dataclass(slots=True)
class _Loader:
    strict: bool
    plugins: list[_Plugin] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    clashes: dict[tuple[type[Any], str], str] = field(default_factory=dict)

    def fail(self, name: str, distribution: str, reason: str, cause: BaseException | None = None) -> None:
        if self.strict:
            raise PluginLoadError(f"plugin {name!r} of {distribution}: {reason}") from cause
        self.failures.append(Failure(name, distribution, reason))

    def load(self, entry_point: EntryPoint) -> None:
        distribution = entry_point.dist.name if entry_point.dist else "unknown"
        version = entry_point.dist.version if entry_point.dist else ""
        try:
            module = entry_point.load()
            hooks = {name: value for name, value in vars(module).items() if getattr(value, MARK, False) is True}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything; it is reported
            self.fail(entry_point.name, distribution, _one_line(error), error)
        else:
            self.plugins.append(_Plugin(entry_point.name, distribution, version, hooks))

    def collect(self, hook: str, kind: type[Spec]) -> dict[str, Registered[Spec]]:
        """Call one hook plugin by plugin, so that one which raises costs only its own records."""
        offers: dict[str, list[Registered[Spec]]] = {}
        for plugin in self.plugins:
            if (implementation := plugin.hooks.pop(hook, None)) is None:
                continue
            try:
                records = [_checked(record, kind) for record in implementation()]
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything; it is reported
                self.fail(plugin.name, plugin.distribution, f"{hook}: {_one_line(error)}", error)
                continue
            for record in records:
                offers.setdefault(record.name, []).append(Registered(record, plugin.distribution, plugin.version))
        for name, claims in offers.items():
            if len(claims) > 1:
                self.clash(kind, name, [claim.distribution for claim in claims])
        return {name: claims[0] for name, claims in sorted(offers.items()) if len(claims) == 1}

    def report_unknown_hooks(self) -> None:
        """Report the functions that are marked as hooks and that nothing has asked for."""
        for plugin in self.plugins:
            for hook in plugin.hooks:
                self.fail(plugin.name, plugin.distribution, f"{hook}: this deepfake-core has no hook of that name")

    def clash(self, kind: type[Any], name: str, owners: list[str]) -> None:
        joined = f"{', '.join(owners[:-1])} and {owners[-1]}"
        reason = f"{name!r} is offered by {joined}; uninstall all but one"
        if self.strict:
            raise DuplicatePlugin(reason)
        self.clashes[kind, name] = reason
        self.failures.append(Failure(name, joined, reason))


def discover(found: Iterable[EntryPoint], *, strict: bool = False) -> Catalogue:
    """Import the given entry points and gather their records.

    Args:
        found: Entry points that name plugin modules.
        strict: Whether to raise an error instead of listing a failure.

    Raises:
        PluginLoadError: ``strict``, and a plugin could not be imported or registered.
        DuplicatePlugin: ``strict``, and two distributions offer one name.
    """
    loader = _Loader(strict)
    for entry_point in sorted(found, key=lambda e: (e.dist.name if e.dist else "", e.name)):
        loader.load(entry_point)
    detectors = loader.collect("deepfake_detectors", DetectorSpec)
    datasets = loader.collect("deepfake_datasets", DatasetSpec)
    explainers = loader.collect("deepfake_explainers", ExplainerSpec)
    protectors = loader.collect("deepfake_protectors", ProtectorSpec)
    exporters = loader.collect("deepfake_exporters", ExporterSpec)
    loader.report_unknown_hooks()
    failures = tuple(loader.failures)
    return Catalogue(detectors, datasets, explainers, protectors, exporters, failures, loader.clashes)


@cache
def catalogue() -> Catalogue:
    """Return what is installed, discovered once for each process; ``catalogue.cache_clear()`` makes it look again."""
    strict = os.environ.get(STRICT, "").strip().lower() not in {"", "0", "false", "no"}
    return discover(entry_points(group=GROUP), strict=strict)


def detectors() -> Mapping[str, Registered[DetectorSpec]]:
    """Return the installed detectors by name, in alphabetical order."""
    return catalogue().detectors


def datasets() -> Mapping[str, Registered[DatasetSpec]]:
    """Return the installed dataset layouts by name, in alphabetical order."""
    return catalogue().datasets


def explainers() -> Mapping[str, Registered[ExplainerSpec]]:
    """Return the installed explainers by name, in alphabetical order."""
    return catalogue().explainers


def protectors() -> Mapping[str, Registered[ProtectorSpec]]:
    """Return the installed protectors by the name of their detector, in alphabetical order."""
    return catalogue().protectors


def exporters() -> Mapping[str, Registered[ExporterSpec]]:
    """Return the installed exporters by the name of their format, in alphabetical order."""
    return catalogue().exporters


def failures() -> tuple[Failure, ...]:
    """Return the plugins that could not be used, and the names that two distributions claim."""
    return catalogue().failures


def list_detectors(pattern: str = "*") -> list[str]:
    """Return the names of the installed detectors that match a shell pattern, in alphabetical order."""
    return fnmatch.filter(detectors(), pattern)


def detector_spec(name: str) -> DetectorSpec:
    """Return the record of one detector.

    Raises:
        UnknownDetector: No plugin offers the name; close matches are suggested.
        DuplicatePlugin: Two distributions offer it.
        PluginLoadError: The plugin of that name is installed but broken.
    """
    hint = _unless_offered(DetectorSpec, name, detectors())
    if hint is not None:
        if reason := why_no_path(name):
            raise UnknownDetector(f"{name}: {reason}")
        raise UnknownDetector(
            f"unknown detector {name!r}; {hint or 'none is installed; run: pip install deepfake-lite'}"
        )
    return detectors()[name].spec


def packaged_folder(name: str, place: str) -> Path:
    """Return a folder inside of an installed package.

    Args:
        name: Name of the detector whose record names it, for messages.
        place: ``"package:folder"``.

    Raises:
        PluginLoadError: There is no such package.
    """
    package, _, folder = place.partition(":")
    try:
        return Path(str(files(package).joinpath(folder)))
    except ModuleNotFoundError as error:
        raise PluginLoadError(f"detector {name!r}: its weights {place!r} name no package") from error


def dataset_spec(name: str) -> DatasetSpec:
    """Return the record of one dataset layout.

    Raises:
        TrainingDataError: No plugin offers the name; close matches are suggested.
        DuplicatePlugin: Two distributions offer it.
        PluginLoadError: The plugin of that name is installed but broken.
    """
    hint = _unless_offered(DatasetSpec, name, datasets())
    if hint is not None:
        raise TrainingDataError(f"unknown dataset layout {name!r}; {hint}")
    return datasets()[name].spec


def exporter_spec(name: str) -> ExporterSpec:
    """Return the record of one exporter.

    Raises:
        DeepfakeError: No plugin offers the format; close matches are suggested.
        DuplicatePlugin: Two distributions offer it.
        PluginLoadError: The plugin of that name is installed but broken.
    """
    hint = _unless_offered(ExporterSpec, name, exporters())
    if hint is not None:
        raise DeepfakeError(f"unknown export format {name!r}; {hint or 'no exporter is installed'}")
    return exporters()[name].spec


def _unless_offered(kind: type[Any], name: str, offered: Mapping[str, Any]) -> str | None:
    """Nothing where the name is offered; else what might have been meant, or is installed."""
    if name in offered:
        return None
    known = catalogue()
    if (clash := known.clashes.get((kind, name))) is not None:
        raise DuplicatePlugin(clash)
    for failure in known.failures:
        if failure.name == name:
            raise PluginLoadError(f"plugin {name!r} of {failure.distribution}: {failure.reason}")
    if close := difflib.get_close_matches(name, offered, n=1):
        return f"did you mean {close[0]!r}?"
    return f"installed: {', '.join(offered)}" if offered else ""


def import_object(target: str, *, install: str = "") -> Any:
    """Import ``"package.module:name"``.

    Args:
        target: Name of the object, with its module.
        install: Requirement that brings its optional dependencies, such as ``"deepfake-lite[torch]"``.

    Raises:
        MissingExtra: A third-party module that it needs is absent, and ``install`` says what brings it.
        PluginLoadError: The target does not exist or cannot be imported.
    """
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if install and missing and missing != module_name.partition(".")[0]:
            raise MissingExtra(f"{target} (module {missing!r})", install) from error
        raise PluginLoadError(f"cannot import {target!r}: {error}") from error
    except MissingExtra as error:  # the names of deepfake_core that need torch raise it themselves
        if not install or getattr(error.__cause__, "name", None) != "torch":
            raise
        raise MissingExtra(f"{target} (module 'torch')", install) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginLoadError(f"cannot import {target!r}: {error}") from error


def _checked(record: object, kind: type[Spec]) -> Spec:
    if not isinstance(record, kind):
        raise TypeError(f"yielded {type(record).__name__}, expected {kind.__name__}")
    if record.api_version != API_VERSION:
        raise ValueError(
            f"{record.name!r} was written for plugin interface {record.api_version}, this deepfake-core has "
            f"{API_VERSION}; install versions that fit each other"
        )
    return record


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
