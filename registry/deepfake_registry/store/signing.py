"""Sign manifests by a key pair, with the library ``model-signing`` and without network access.

A signature is made of the folder ``model/`` with ``manifest.json`` in it. The manifest holds the sha256 of every file,
and each read compares it, so that the signature covers the whole model. The library's own command verifies it:
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
    """Return a detached signature of a manifest, as a Sigstore bundle in JSON.

    Args:
        manifest: Exact bytes of the manifest.
        private_key: PEM file with an elliptic-curve key that has no password.

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
    """Check that at least one signature is of this manifest and by this key.

    Args:
        manifest: Exact bytes of the manifest.
        signatures: Signatures that :func:`sign_bytes` returned; any other bytes are not valid.
        public_key: PEM file with the public key.
        what: Name of the model, for the message.

    Raises:
        SignatureRefused: No signature is.
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
            except Exception as error:  # noqa: BLE001 - the library may raise anything; it is reported
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
    """Yield a temporary folder with the manifest, which is signed, and the path of the signature beside it."""
    with tempfile.TemporaryDirectory(prefix="deepfake-") as root:
        folder = Path(root) / "model"
        folder.mkdir()
        (folder / MANIFEST_FILE).write_bytes(manifest)
        yield folder, Path(root) / "model.sig"


def _library(module: str) -> Any:
    """Import a module of the library; raise MissingExtra where it is not installed."""
    import importlib

    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtra("signing models", INSTALL) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
