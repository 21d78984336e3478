"""A repository of model files that others published, as a detector's ``from_repository`` reads it.

Only files on this machine are read, and pickled weights are never opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_core.errors import ArtifactCorrupt, WeightsUnavailable
from deepfake_registry.files import sha256_file
from deepfake_registry.manifest import FileRef

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Lists the files of weights that are too large for one file."""
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHORT = 12  # hex digits of a commit that name a version


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hugging Face Hub, or a folder with such files, whose files are on this machine.

    Attributes:
        name: Name that the user gave: ``owner/name``, or a folder.
        folder: Folder of the files.
        commit: Revision on the Hub; empty for a folder.
        cache: The Hub's cache; ``None`` for a folder.
        cached: Whether the files were on this machine before, rather than downloaded now.
        advice: Remedies for a missing or damaged file, the best one first.
    """

    name: str
    folder: Path
    commit: str = ""
    cache: Path | None = None
    cached: bool = True
    advice: tuple[str, ...] = ("complete the folder",)

    @property
    def title(self) -> str:
        """Name to publish; for a folder its last part, as its path on this machine is private."""
        return self.name if self.commit else self.folder.resolve().name

    @property
    def origin(self) -> str:
        """Name of exactly these files on this machine: the revision on the Hub, or the folder's full path."""
        return f"{self.name.partition('@')[0]}@{self.commit}" if self.commit else str(self.folder.resolve())

    def file(self, name: str) -> Path:
        """Return the path of one of its files.

        Raises:
            WeightsUnavailable: The file is missing.
        """
        path = self.folder / name
        if not path.is_file():
            reason = f"{self.name}: {name} is missing in {self.folder}; {self.advice[0]}"
            raise WeightsUnavailable(reason, *self.advice[1:])
        return path

    def json(self, name: str) -> dict[str, Any]:
        """Read one of its files, which holds a JSON object.

        Raises:
            WeightsUnavailable: The file is missing.
            ArtifactCorrupt: The file holds no JSON object.
        """
        path = self.file(name)
        try:
            value = json.loads(path.read_bytes())
        except ValueError as error:
            raise ArtifactCorrupt(f"{path}: not readable JSON ({error}); {self.advice[0]}") from error
        if not isinstance(value, dict):
            raise ArtifactCorrupt(f"{path}: expected a JSON object; {self.advice[0]}")
        return value

    def weights(self) -> tuple[Path, ...]:
        """Return the paths of its safetensors files.

        Raises:
            WeightsUnavailable: A file is missing, or there are only pickled weights.
            ArtifactCorrupt: The index names no files.
        """
        if (self.folder / INDEX).is_file() and not (self.folder / WEIGHTS).exists():
            table = self.json(INDEX).get("weight_map")
            names = set(table.values()) if isinstance(table, dict) else set()
            if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
                raise ArtifactCorrupt(f"{self.folder / INDEX}: lists no files of weights; {self.advice[0]}")
            return tuple(self.file(name) for name in sorted(names))
        if not (self.folder / WEIGHTS).exists():
            pickled = sorted(path.name for path in self.folder.glob("*") if path.suffix in _PICKLED)
            if pickled:
                raise WeightsUnavailable(
                    f"{self.name}: there is {pickled[0]} but no {WEIGHTS}; pickled weights can run any code and are "
                    f"never opened: convert them, as with transformers' save_pretrained(safe_serialization=True)"
                )
        return (self.file(WEIGHTS),)

    def references(self) -> tuple[FileRef, ...]:
        """Return its files of weights with their hashes, which are checked where the Hub's cache knows them.

        Raises:
            WeightsUnavailable: A file is missing.
            ArtifactCorrupt: A file differs from the Hub's.
        """
        found = []
        for path in self.weights():
            digest = sha256_file(path)
            blob = path.resolve().name  # the cache names large files by their sha256
            if self.cache is not None and _SHA256.fullmatch(blob) and blob != digest:
                raise ArtifactCorrupt(
                    f"{path}: its sha256 differs from the Hub's, it is damaged; delete {path.resolve()} and "
                    f"{self.advice[0]}"
                )
            found.append(FileRef(path=path.name, sha256=digest, size_bytes=path.stat().st_size))
        return tuple(found)

    def version(self, references: tuple[FileRef, ...]) -> str:
        """Return its version: the first 12 digits of the commit, or of the weights' hash for a folder."""
        if self.commit:
            return self.commit[:_SHORT]
        hashes = "".join(reference.sha256 for reference in references)
        return (hashes if len(references) == 1 else hashlib.sha256(hashes.encode()).hexdigest())[:_SHORT]

    def tensors(self) -> dict[str, Tensor]:
        """Read all weights by name, floating-point ones as float32 (imports torch).

        Raises:
            WeightsUnavailable: A file is missing.
            ArtifactCorrupt: A file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        state: dict[str, Tensor] = {}
        for path in self.weights():
            try:
                stored = load_file(path)
            except (SafetensorError, OSError) as error:
                raise ArtifactCorrupt(f"{path}: damaged ({error}); {self.advice[0]}") from error
            state |= {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
        return state

    def license(self) -> str:
        """Return the licence that the front matter of its README names; empty where it names none."""
        readme = self.folder / "README.md"
        if not readme.is_file():
            return ""
        matter = re.match(r"---\s*\n(.*?)\n---", readme.read_text("utf-8", errors="replace"), re.DOTALL)
        found = re.search(r"^license:[ \t]*([\w.+-]+)", matter[1], re.MULTILINE) if matter else None
        return found[1] if found else ""
