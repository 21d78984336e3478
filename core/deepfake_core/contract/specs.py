"""The records that plugins yield: they say what a plugin offers and *name* its code, which is imported on first use.

They are plain frozen dataclasses, so that listing plugins imports nothing heavy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Literal

API_VERSION = 1
"""Version of the plugin interface; records of another version are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A documented number that the benchmark is held against.

    Attributes:
        metric: Name of the metric in the benchmark, such as ``"latency_ms_p50"``, ``"auc"`` or ``"file_mb"``.
        scenario: Benchmark scenario that measures the metric.
        comparison: Relation of the measured value to ``value``: ``"<="`` or ``">="``.
        value: The documented number, in the unit that the metric's name carries.
        source: Document that states the number: a paper, or the documentation of a system.
        condition: Hardware, dataset or setting that the number was stated for; empty where it holds anywhere.
        note: Exact statement of the document, where the other fields leave it open.
    """

    metric: str
    scenario: str
    comparison: Literal["<=", ">="]
    value: float
    source: str
    condition: str = ""
    note: str = ""


def read_targets(package: str) -> tuple[Target, ...]:
    """Read the documented numbers in a package's ``targets.toml``, which has a table ``[[target]]`` for each.

    Args:
        package: Name of the plugin's package: its ``__package__``.

    Raises:
        ValueError: The file is not TOML, or a table is not a target.
    """
    file = resources.files(package) / "targets.toml"
    try:
        targets = tuple(Target(**table) for table in tomllib.loads(file.read_text(encoding="utf-8"))["target"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error
    if wrong := [target.comparison for target in targets if target.comparison not in ("<=", ">=")]:
        raise ValueError(f"{file}: comparison {wrong[0]!r} is neither <= nor >=")
    return targets


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSpec:
    """A detector that a plugin offers.

    Attributes:
        name: Name that users type: ``deepfake_core.load(name)``.
        summary: Description in one line, for listings.
        detector: ``"package.module:Class"`` of a :class:`deepfake_core.Detector`; importing it imports torch.
        install: Requirement that brings torch and what the network needs, such as ``"deepfake-lite[torch]"``.
        training: Requirements that bring all that its default recipe needs, where that is more than ``install``; each
            may begin with options of ``pip install``.
        weights: ``"package:folder"`` of the packaged model (``manifest.json`` and artefacts), or ``None``.
        best: ``"package:folder"`` of an ensemble that ships with this detector, which is one of its members:
            ``deepfake_core.load("best")``. One installed detector may bring it.
        hub: Repository of the default weights on the Hugging Face Hub, where none are packaged; the detector's
            ``from_repository`` reads it.
        kind: Kind of one input: an image or a video.
        targets: Documented numbers that the benchmark is held against.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    detector: str
    install: str
    training: tuple[str, ...] = ()
    weights: str | None = None
    best: str | None = None
    hub: str | None = None
    kind: Literal["image", "video"] = "image"
    targets: tuple[Target, ...] = ()
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A dataset layout that a plugin can read.

    Attributes:
        name: Name that users type: ``--data NAME:PATH``.
        summary: Description in one line, for listings.
        dataset: ``"package.module:Class"`` of a :class:`deepfake_core.Dataset`.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    dataset: str
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectorSpec:
    """A method to protect images of faces, which is part of a detector's network.

    Attributes:
        name: Name of the detector: ``deepfake_core.load(name).protect(…)``.
        summary: Description in one line, for listings.
        protector: ``"package.module:Class"`` of a :class:`deepfake_core.Protector`.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    protector: str
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainerSpec:
    """A method that shows which parts of an image decided a score.

    Attributes:
        name: Name that users type: ``--method NAME``.
        summary: Description in one line, for listings.
        explainer: ``"package.module:Class"`` of a :class:`deepfake_core.Explainer`.
        needs_torch: Whether it needs the network in torch, rather than any runtime.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    explainer: str
    needs_torch: bool = False
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterSpec:
    """A file format that a trained detector can be written in.

    The function is called as ``exporter(detector, network, manifest, out, precision=precision, **options)`` and returns
    the path that it wrote. It refuses a file that disagrees with the network.

    Attributes:
        name: Name of the format that users type: ``--format NAME``.
        summary: Description in one line, for listings.
        exporter: ``"package.module:function"`` of the function that writes the file (imports torch).
        suffix: Suffix of the file, with its dot.
        precisions: Precisions that the format can be written in, such as ``("fp32", "int8")``.
            A milder one comes before a harsher one.
        install: Requirement that brings what the function needs.
        needs: Precision → module that it needs besides, and the requirement that brings it.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    exporter: str
    suffix: str
    precisions: tuple[str, ...] = ("fp32",)
    install: str = "deepfake-core[torch]"
    needs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    api_version: int = API_VERSION
