"""Signatures: with a key set, only what was signed by it is trusted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from deepfake_registry.errors import ArtifactCorrupt, DeepfakeError, SignatureRefused
from deepfake_registry.store.attachments import Attachments
from deepfake_registry.store.opening import open_registry
from deepfake_registry.store.upkeep import verify

pytest.importorskip("model_signing")


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """``{"mine": (private, public), "other": …}``, as ``openssl ecparam -genkey`` would write them."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, found = tmp_path_factory.mktemp("keys"), {}
    for name in ("mine", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        private, public = folder / f"{name}.key", folder / f"{name}.pub"
        private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
        found[name] = (private, public)
    return found


@pytest.fixture
def signed(registry, package, keys):
    """A registry with ``tiny@1``, signed by ``mine``, that trusts ``mine`` alone."""
    published, _ = registry.push(package("1", content=b"abc"))
    registry.sign(published, keys["mine"][0])
    registry.move("tiny", "production", "1", reason="x")
    registry.key = keys["mine"][1]
    return registry


def test_a_signature_by_the_key_is_accepted(signed):
    assert signed.trusted("tiny@1").reference == "tiny@1"
    assert signed.trusted("tiny@production").reference == "tiny@1"
    assert verify(signed).problems == []


def test_without_a_key_nothing_is_required(signed, package):
    signed.key = None
    signed.push(package("2"))
    assert signed.trusted("tiny@2").reference == "tiny@2"


def test_a_missing_signature_is_refused(signed, package, keys):
    signed.push(package("2"))
    with pytest.raises(SignatureRefused, match=r"tiny@2 in .*: not signed, and a signature by .*mine\.pub is required"):
        signed.trusted("tiny@2")


def test_another_key_is_refused(signed, package, keys):
    published, _ = signed.push(package("2"))
    signed.sign(published, keys["other"][0])
    with pytest.raises(SignatureRefused, match=r"tiny@2 in .*: no signature by .*mine\.pub"):
        signed.trusted("tiny@2")
    signed.sign(published, keys["mine"][0])  # one of several is enough
    assert signed.trusted("tiny@2") == published
    assert len(signed.signatures(published)) == 2


def test_an_altered_file_is_refused(signed):
    published = signed.trusted("tiny@1")
    signed.fetch(published.manifest.files["onnx"]).write_bytes(b"abd")
    with pytest.raises(ArtifactCorrupt, match="sha256 differs"):
        signed.fetch(published.manifest.files["onnx"])


def test_an_altered_model_with_hashes_that_fit_is_refused(signed, package):
    """Who can write to the registry can make everything fit but the signature."""
    text = (package("1", content=b"evil") / "manifest.json").read_bytes()
    signed.blobs.add_bytes(b"evil")
    signed.blobs.add_bytes(text)
    (signed.storage.root / "models" / "tiny" / "1" / "manifest.json").write_bytes(text)
    with pytest.raises(SignatureRefused, match="no signature by"):
        signed.trusted("tiny@1")


def test_a_signature_of_another_version_does_not_count(signed, package):
    signed.push(package("2", content=b"abc"))
    folder = signed.storage.root / "models" / "tiny"
    (file,) = (folder / "1" / "signatures").iterdir()
    (folder / "2" / "signatures").mkdir()
    (folder / "2" / "signatures" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(SignatureRefused):
        signed.trusted("tiny@2")


def test_a_damaged_signature_is_an_error_and_rubbish_is_refused(signed, package):
    published = signed.resolve("tiny@1")
    (file,) = (signed.storage.root / "models" / "tiny" / "1" / "signatures").iterdir()
    text = file.read_bytes()
    file.write_bytes(text.replace(b"a", b"b", 1))
    with pytest.raises(ArtifactCorrupt, match=r"signatures.*damaged"):
        signed.trusted("tiny@1")
    file.unlink()
    for rubbish in (b"", b"{}", b"\xff\x00", json.dumps({"dsseEnvelope": {}}).encode()):
        Attachments(signed.storage, "signatures", ".sig").add(published, rubbish)
    with pytest.raises(SignatureRefused):
        signed.trusted("tiny@1")


def test_keys_that_cannot_be_used_are_named(signed, tmp_path, keys):
    (tmp_path / "no.key").write_text("no key")
    published = signed.resolve("tiny@1")
    with pytest.raises(DeepfakeError, match=r"no\.key: cannot sign with this key"):
        signed.sign(published, tmp_path / "no.key")
    with pytest.raises(DeepfakeError, match=r"no\.key: not a public key"):
        signed.check_signature(published, tmp_path / "no.key")
    with pytest.raises(DeepfakeError, match="gone: no such file; DEEPFAKE_REGISTRY_KEY"):
        open_registry(tmp_path, key=tmp_path / "gone")


def test_the_environment_names_the_key(signed, monkeypatch, keys):
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(signed.storage.root))
    monkeypatch.setenv("DEEPFAKE_REGISTRY_KEY", str(keys["other"][1]))
    with pytest.raises(SignatureRefused):
        open_registry().trusted("tiny@1")


def test_the_command_of_the_library_accepts_a_pulled_model(signed, keys, tmp_path):
    published = signed.trusted("tiny@1")
    folder = signed.pull(published, tmp_path / "pulled")
    (signature,) = signed.read_signatures(published)
    (tmp_path / "model.sig").write_bytes(signature)
    command = [sys.executable, "-m", "model_signing", "verify", "key", folder, "--signature", tmp_path / "model.sig",
               "--public_key", keys["mine"][1], "--ignore_unsigned_files"]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
