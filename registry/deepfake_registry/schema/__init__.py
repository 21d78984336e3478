"""The JSON schema of the manifest, for other programs; ``python -m deepfake_registry.schema`` writes it."""

from __future__ import annotations

import json
from pathlib import Path

from deepfake_registry.manifest import SCHEMA_VERSION, ModelManifest

FILE = Path(__file__).with_name(f"manifest-v{SCHEMA_VERSION}.json")
"""File of the schema."""


def schema_text() -> str:
    """Return the schema of ``manifest.json``, made from :class:`~deepfake_registry.manifest.ModelManifest`."""
    schema = ModelManifest.model_json_schema(mode="validation")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:deepfake-core:manifest:v{SCHEMA_VERSION}",
        **schema,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
