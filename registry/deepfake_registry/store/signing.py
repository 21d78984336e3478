"""Signatures of manifests by a key pair, through the library ``model-signing``; no network.

What is signed is the folder ``model/`` with ``manifest.json`` in it. The manifest holds the sha256 of every file, and
each read compares it, so the signature covers the whole model. The format is that of the library's own command:
``python -m model_signing verify key FOLDER --signature FILE --public_key KEY --ignore_unsigned_files``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfake_registry.errors import DeepfakeError, MissingExtra, SignatureRefused
from deepfake_registry.manifest import MANIFEST_FILE

INSTALL = "deepfake-core[sign]"


def sign_bytes(manifest: bytes, private_key: Path) -> bytes:
    """A detached signature of a manifest, as a Sigstore bundle in JSON.

    Args:
        manifest: Its very bytes.
        private_key: PEM file with an elliptic-curve key, without a password.

    Raises:
        MissingExtra: The library is not installed.
        DeepfakeError: The key cannot be read, or is of another kind.
    """
    signing = _library("signing")
    with _model(manifest) as (folder, signature):
        try:
            signing.Config().use_elliptic_key_signer(private_key=private_key).sign(folder, signature)
        except Exception as error:
            raise DeepfakeError(f"{private_key}: cannot sign with this key: {_one_line(error)}") from error
        return signature.read_bytes()


def require_signature(manifest: bytes, signatures: Iterable[bytes], public_key: Path, what: str) -> None:
    """See that one of the signatures is of this manifest and by this key.

    Args:
        manifest: Its very bytes.
        signatures: What :func:`sign_bytes` gave; anything else is no valid signature.
        public_key: PEM file.
        what: Name of the model, for the message.

    Raises:
        SignatureRefused: None is.
        MissingExtra: The library is not installed.
        DeepfakeError: The key cannot be read, or is of another kind.
    """
    verifying = _library("verifying")
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:
        raise DeepfakeError(f"{public_key}: not a public key that can verify: {_one_line(error)}") from error
    reasons = []
    for data in signatures:
        with _model(manifest) as (folder, signature):
            signature.write_bytes(data)
            try:
                verifying.Config().use_elliptic_key_verifier(public_key=public_key).verify(folder, signature)
            except Exception as error:  # noqa: BLE001 - the library raises what it likes; it is reported
                reasons.append(_one_line(error))
            else:
                return
    if reasons:
        raise SignatureRefused(f"{what}: no signature by {public_key}: {'; '.join(sorted(set(reasons)))}")
    raise SignatureRefused(
        f"{what}: not signed, and a signature by {public_key} is required; whoever has its private key adds one by: "
        "dfbench registry sign"
    )


@contextmanager
def _model(manifest: bytes) -> Iterator[tuple[Path, Path]]:
    """The folder that is signed, and a place for the signature beside it."""
    with tempfile.TemporaryDirectory(prefix="deepfake-") as root:
        folder = Path(root) / "model"
        folder.mkdir()
        (folder / MANIFEST_FILE).write_bytes(manifest)
        yield folder, Path(root) / "model.sig"


def _library(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtra("signing models", INSTALL) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
