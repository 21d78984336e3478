"""The records that plugins yield: they say what exists and *name* the code, which is imported on first use.

Plain frozen dataclasses, so that listing plugins imports nothing heavy.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

API_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A documented number that the benchmark is held against.

    Attributes:
        metric: What is compared, as the benchmark names it (``"latency_ms_p50"``, ``"auc"``, ``"file_mb"``).
        scenario: Benchmark scenario that measures it.
        comparison: ``"<="`` or ``">="``.
        value: The number, in the unit that the metric's name carries.
        source: Where it is documented: a requirement ID or a paper.
        condition: Hardware, dataset or setting that it was stated for; empty when it holds anywhere.
        note: What exactly is documented, where the other fields leave it open.
    """

    metric: str
    scenario: str
    comparison: Literal["<=", ">="]
    value: float
    source: str
    condition: str = ""
    note: str = ""


def read_targets(package: str) -> tuple[Target, ...]:
    """The documented numbers in a package's ``targets.toml``: a table ``[[target]]`` with the fields of each.

    Args:
        package: Name of the plugin's package, its ``__package__``.

    Raises:
        ValueError: The file is no TOML, or a table is no target.
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
        name: What users type: ``deepfake_core.load(name)``.
        summary: One line for listings.
        detector: ``"package.module:Class"`` of a :class:`deepfake_core.contract.detector.Detector` (imports torch).
        weights: ``"package:folder"`` of the packaged model (``manifest.json`` and artefacts), or ``None``.
        hub: Repository on the Hugging Face Hub of its default weights, where none are packaged; the detector's
            ``from_repository`` reads it.
        install: The requirement that brings what training needs, such as ``"deepfake-lite[torch]"``.
        kind: What one input is.
        targets: Documented numbers.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    detector: str
    install: str
    weights: str | None = None
    hub: str | None = None
    kind: Literal["image", "video"] = "image"
    targets: tuple[Target, ...] = ()
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A dataset layout that a plugin can read.

    Attributes:
        name: What users type: ``--data NAME:PATH``.
        summary: One line for listings.
        dataset: ``"package.module:Class"`` of a :class:`deepfake_core.datasets.Dataset`.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    dataset: str
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectorSpec:
    """A way to protect pictures of faces, which a detector's network brings along.

    Attributes:
        name: Of the detector: ``deepfake_core.load(name).protect(…)``.
        summary: One line for listings.
        protector: ``"package.module:Class"`` of a :class:`deepfake_core.protect.protectors.Protector`.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    protector: str
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainerSpec:
    """A way to show where a detector looked.

    Attributes:
        name: What users type: ``--method NAME``.
        summary: One line for listings.
        explainer: ``"package.module:Class"`` of a :class:`deepfake_core.explainers.Explainer`.
        needs_torch: Whether it needs the network itself rather than any runtime.
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
        name: The format, as users type it: ``--format NAME``.
        summary: One line for listings.
        exporter: ``"package.module:function"`` of the function that writes the file (imports torch).
        suffix: Suffix of the file, with its dot.
        precisions: Precisions that the format can be written in, such as ``("fp32", "int8")``.
        install: The requirement that brings what the function needs.
        api_version: Version of the plugin interface that the record was written for.
    """

    name: str
    summary: str
    exporter: str
    suffix: str
    precisions: tuple[str, ...] = ("fp32",)
    install: str = "deepfake-core[torch]"
    api_version: int = API_VERSION
