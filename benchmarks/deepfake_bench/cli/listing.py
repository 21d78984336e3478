"""``dfbench list``: the plugins that are installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deepfake_bench.cli.output.options import Format, Output
from deepfake_bench.cli.output.text import ELSEWHERE, columns
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_core.contract.specs import DetectorSpec
    from deepfake_core.discovery.plugins import Registered


def list_detectors(output: Output = Format.table) -> None:
    """List installed detectors and other plugins.

    Detectors are listed with their weights, then the ensemble that is called best, if there is one, dataset layouts,
    explainers, protectors, exporters, and plugins that could not be loaded.

    Examples:
        dfbench list
        dfbench list --format json | jq '.detectors[].name'
    """
    from deepfake_core.discovery import plugins

    detectors = [
        {
            "name": name,
            "kind": entry.spec.kind,
            "weights": _weights(entry.spec),
            "distribution": entry.distribution,
            "version": entry.version,
            "summary": entry.spec.summary,
        }
        for name, entry in plugins.detectors().items()
    ]
    others = {
        kind: [
            {"name": name, "distribution": entry.distribution, "version": entry.version, "summary": entry.spec.summary}
            for name, entry in found.items()
        ]
        for kind, found in _others()
    }
    failed = [
        {"name": failure.name, "distribution": failure.distribution, "reason": failure.reason}
        for failure in plugins.failures()
    ]
    if output is Format.json:
        listed = {"detectors": detectors, "ensembles": _ensembles(), **others, "failed": failed}
        typer.echo(json.dumps(listed, indent=2))
    else:
        _print(detectors, others, failed)


def _others() -> Iterator[tuple[str, Mapping[str, Registered[Any]]]]:
    from deepfake_core.discovery import plugins

    yield "datasets", plugins.datasets()
    yield "explainers", plugins.explainers()
    yield "protectors", plugins.protectors()
    yield "exporters", plugins.exporters()


def _ensembles() -> list[dict[str, str]]:
    """Return the ensemble ``best`` with its folder, if one ships or was placed."""
    from deepfake_core.discovery.placed import BEST, place_of
    from deepfake_core.errors import DeepfakeError

    try:
        place = place_of(BEST)
    except DeepfakeError:
        place = None
    return [{"name": BEST, "path": str(place)}] if place is not None else []


Items = list[dict[str, Any]]


def _print(detectors: Items, others: dict[str, Items], failed: Items) -> None:
    if detectors:
        head = ("detector", "kind", "weights", "from", "summary")
        rows = [
            (item["name"], item["kind"], _described(item["weights"]), _origin(item), item["summary"])
            for item in detectors
        ]
        typer.echo(columns([head, *rows], elsewhere=ELSEWHERE))
    else:
        typer.echo("no detector is installed; run: pip install deepfake-lite", err=True)
    for item in _ensembles():
        typer.echo(f"\nensemble {item['name']}: {printable(item['path'])}")
    for kind, items in others.items():
        if not items:
            continue
        named = [(item["name"], _origin(item), item["summary"]) for item in items]
        typer.echo(f"\n{columns([(kind.removesuffix('s'), 'from', 'summary'), *named], elsewhere=ELSEWHERE)}")
    if failed:
        typer.echo("")
    for failure in failed:
        typer.echo(f"failed: {printable(failure['name'])} ({failure['distribution']}): {printable(failure['reason'])}")


def _origin(item: dict[str, Any]) -> str:
    return f"{item['distribution']} {item['version']}"


def _weights(spec: DetectorSpec) -> dict[str, Any]:
    """Return the status of a detector's weights, with their version and size where these are known.

    Weights in the folder that ``DEEPFAKE_WEIGHTS`` names come first, with their ``path``. The status of packaged
    weights is ``trained``, ``pretrained`` or ``untrained``; it is ``damaged`` or ``missing`` where the package is
    incomplete. That of a repository of the Hugging Face Hub is ``cached`` or ``not cached``. A detector without weights
    has the status ``none``. No file is verified, because that would make the command slow.
    """
    from deepfake_core.discovery.placed import placed

    if (place := placed(spec.name)) is not None:
        return _placed(place)
    if spec.weights is not None:
        return _packaged(spec.weights)
    if spec.hub is not None:
        from deepfake_core.discovery.hub_cache import cached_weights

        folder = cached_weights(spec.hub)
        status = "not cached" if folder is None else "cached"
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder is not None else None
        version = folder.name[:12] if folder is not None else None
        return {"status": status, "version": version, "bytes": size, "repository": spec.hub}
    return {"status": "none"}


def _placed(place: Path) -> dict[str, Any]:
    from deepfake_core.discovery.artifacts import package_folder, read_bare
    from deepfake_core.errors import DeepfakeError

    try:
        found = _of_folder(package_folder(place)) if place.is_dir() else None
        if found is None:
            manifest = read_bare(place).manifest
            found = {"status": manifest.weights, "version": manifest.version, "bytes": place.stat().st_size}
    except DeepfakeError:
        found = {"status": "damaged"}
    return {**found, "path": str(place)}


def _packaged(weights: str) -> dict[str, Any]:
    from importlib.util import find_spec

    package, _, name = weights.partition(":")
    found = find_spec(package)
    for root in (found.submodule_search_locations or ()) if found else ():
        if (known := _of_folder(Path(root, name))) is not None:
            return known
    return {"status": "missing"}


def _of_folder(folder: Path) -> dict[str, Any] | None:
    """Return the status of a package by its manifest; ``None`` where it has none."""
    file = folder / "manifest.json"
    if not file.is_file():
        return None
    try:
        manifest = json.loads(file.read_bytes())
        sizes = {format: int(entry["size_bytes"]) for format, entry in manifest["files"].items()}
        # The exported file is the one that runs by default.
        size = sizes.get("onnx", next(iter(sizes.values()), 0))
        return {"status": str(manifest["weights"]), "version": str(manifest["version"]), "bytes": size}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"status": "damaged"}


def _described(weights: dict[str, Any]) -> str:
    """Describe the weights in a few words: ``trained 174167f6, 7.2 MB``."""
    status, repository = weights["status"], weights.get("repository")
    if status == "not cached":
        return f"{repository}, not in the Hugging Face cache"
    if status == "none":
        return "none: untrained"
    if status == "missing":
        return "missing from its package"
    size = f", {weights['bytes'] / 1e6:.1f} MB" if weights.get("bytes") else ""
    version = f" {weights['version']}" if weights.get("version") else ""
    place = (
        ", in the Hugging Face cache" if repository else f", {printable(weights['path'])}" if "path" in weights else ""
    )
    return f"{repository or status}{version}{size}{place}"
