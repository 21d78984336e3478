"""``dfbench registry push`` and ``pull``: models into the registry and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.output.options import Key, RegistryUrl
from deepfake_bench.cli.registry.shared import Reference


def push(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER",
            help="A packaged model, or the folder of a run; several folders of one model, such as its exports in "
            "several formats, become one version.",
            show_default=False,
        ),
    ],
    report: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="REPORT.json", help="Report of dfbench run --json about this very model; may be repeated."
        ),
    ] = None,
    registry: RegistryUrl = None,
) -> None:
    """Publish a packaged model.

    Its manifest holds the name and the version under which it is published. A version never changes: the very same
    model may be pushed again, and another model under its version is an error.

    Examples:
        dfbench registry push runs/mine --report report.json
        dfbench registry push runs/mine mine-onnx/ mine-openvino/
    """
    from tempfile import TemporaryDirectory

    from deepfake_bench.cli.models import model_of
    from deepfake_bench.records.report import parse_report, read_report
    from deepfake_bench.registry.promotion import own_measurements
    from deepfake_core.discovery.artifacts import join_packages, read_package
    from deepfake_registry.store.opening import open_registry

    packages = [read_package(model_of(str(model))) for model in models]
    reports = {path: read_report(path) for path in report or ()}
    store = open_registry(registry)
    with TemporaryDirectory() as scratch:
        package = packages[0] if len(packages) == 1 else join_packages(packages, scratch)
        for path, data in reports.items():
            own_measurements(parse_report(data, path), package.manifest, path, f"{packages[0].folder}/")
        published, new = store.push(package.folder, list(reports.values()))
    typer.echo(f"{'pushed' if new else 'is there already:'} {published.reference}, sha256 {published.sha256}")


def pull(
    model: Reference,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write; it must be new or empty.")],
    registry: RegistryUrl = None,
    key: Key = None,
) -> None:
    """Write a published model as a packaged folder.

    Every file is verified, and the folder appears whole or not at all.

    Examples:
        dfbench registry pull lite@production --out lite-production/
    """
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry, key=key)
    published = store.trusted(model)
    # With a separator at its end it is taken for a path, whatever the folder is called.
    typer.echo(f"wrote {published.reference}; use it as --detector {store.pull(published, out)}/")
