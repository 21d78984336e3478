"""Names that the shell completes: what is installed, and what a registry on this machine holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import typer

Names = list[tuple[str, str]]
"""Names, each with a few words about it, which shells other than bash show."""


def detectors() -> Names:
    """Return the installed detectors."""
    return _summaries("detectors")


def protectors() -> Names:
    """Return the installed protectors."""
    return _summaries("protectors")


def explainers() -> Names:
    """Return the installed explainers."""
    return _summaries("explainers")


def formats() -> Names:
    """Return the formats of the installed exporters."""
    return _summaries("exporters")


def precisions(ctx: typer.Context) -> list[str]:
    """Return the precisions that the chosen format offers."""
    chosen = _offered("exporters").get(ctx.params.get("format_") or "onnx")
    return list(chosen.spec.precisions) if chosen else []


def scenarios() -> Names:
    """Return the scenarios of ``dfbench run``."""
    from deepfake_bench.scenarios.catalogue import SCENARIOS

    return [(name, scenario.summary) for name, scenario in SCENARIOS.items()]


def devices() -> list[str]:
    """Return the devices that a name without a number stands for."""
    return ["auto", "cpu", "cuda", "mps"]


def models(ctx: typer.Context) -> list[str]:
    """Return the models of the registry, by version and by alias; none where the registry is not on this machine."""
    from deepfake_core.errors import DeepfakeError
    from deepfake_registry.store.opening import URL_VARIABLE, open_registry

    url = ctx.params.get("registry") or os.environ.get(URL_VARIABLE)
    if url and "://" in url:
        return []
    try:
        store = open_registry(url)
        return [
            f"{name}@{which}" for name in store.names() for which in (*store.aliases.names(name), *store.versions(name))
        ]
    except DeepfakeError:
        return []


def one_scenario(values: list[str] | None) -> list[str] | None:
    """Return the scenarios that were asked for.

    Raises:
        typer.BadParameter: One of them does not exist.
    """
    names = [name for name, _ in scenarios()]
    for value in values or ():
        if value not in names:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(map(repr, names))}.")
    return values


def _summaries(kind: str) -> Names:
    return [(name, entry.spec.summary) for name, entry in _offered(kind).items()]


def _offered(kind: str) -> Mapping[str, Any]:
    """Return the plugins of a kind; none where they cannot be listed, as a shell has no place for the reason."""
    from deepfake_core.discovery import plugins
    from deepfake_core.errors import DeepfakeError

    try:
        return getattr(plugins, kind)()  # type: ignore[no-any-return]
    except DeepfakeError:
        return {}
