"""``dfbench registry sign`` and ``check-signature``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.output.options import Key, RegistryUrl
from deepfake_bench.cli.registry.shared import Reference


def sign(
    model: Reference,
    private_key: Annotated[
        Path, typer.Option("--private-key", metavar="FILE", help="PEM file with an elliptic-curve private key.")
    ],
    registry: RegistryUrl = None,
) -> None:
    """Sign a published model with a private key.

    The signature is kept beside the manifest of the model.

    Examples:
        dfbench registry sign lite@174167f6 --private-key private.pem
    """
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry)
    published = store.resolve(model)
    store.sign(published, private_key)
    typer.echo(f"signed {published.reference}")


def check_signature(model: Reference, registry: RegistryUrl = None, key: Key = None) -> None:
    """Check that a published model is signed by a key.

    Exit status: 0; 2 when it is not.

    Examples:
        dfbench registry check-signature lite@production --key public.pem
    """
    from deepfake_registry.errors import RegistryError
    from deepfake_registry.store.opening import open_registry

    store = open_registry(registry, key=key)
    if store.key is None:
        raise RegistryError("name the public key: --key FILE, or DEEPFAKE_REGISTRY_KEY")
    published = store.trusted(model)
    typer.echo(f"{published.reference} is signed by {store.key}")
