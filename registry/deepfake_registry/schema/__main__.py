"""Write the JSON schema to the file in this folder."""

from deepfake_registry.files import write_atomic
from deepfake_registry.schema import FILE, schema_text

write_atomic(FILE, schema_text())
