"""The schema of the manifest that is kept for other programs."""

from __future__ import annotations

import json

import pytest

from deepfake_registry.schema import FILE, schema_text


def test_the_schema_is_up_to_date():
    assert FILE.name == "manifest-v1.json"
    assert FILE.read_text("utf-8") == schema_text(), "run: python -m deepfake_registry.schema"


def test_the_schema_describes_a_published_manifest(package):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(FILE.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    manifest = json.loads((package() / "manifest.json").read_text())
    jsonschema.validate(manifest, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest | {"weights": "magic"}, schema)
