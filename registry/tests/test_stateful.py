"""Any sequence of pushes, moves, damage and collections leaves a registry as a simple table would have it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deepfake_registry.errors import ArtifactCorrupt, RegistryError
from deepfake_registry.manifest import FileRef, Normalize, PreprocessSpec, Resize, WholeImage, manifest_of
from deepfake_registry.store.blobs import blob_path
from deepfake_registry.store.local import LocalStorage
from deepfake_registry.store.registry import Registry
from deepfake_registry.store.upkeep import collect, verify

PREPROCESS = PreprocessSpec(
    crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
)
VERSIONS, ALIASES, CONTENTS = st.sampled_from("12"), st.sampled_from(("prod", "test")), st.sampled_from((b"a", b"b"))


class Model(RuleBasedStateMachine):
    """The registry beside dictionaries of what it should hold."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="registry-"))
        self.registry = Registry(LocalStorage(self.root / "store"))
        self.versions: dict[str, bytes] = {}
        self.moves: dict[str, list[str]] = {}

    def teardown(self):
        shutil.rmtree(self.root)

    def package(self, version, content):
        folder = self.root / f"{version}-{content.decode()}"
        folder.mkdir(exist_ok=True)
        (folder / "m.onnx").write_bytes(content)
        file = FileRef(path="m.onnx", sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        manifest = manifest_of(
            name="m", version=version, architecture="m", preprocess=PREPROCESS, weights="trained", files={"onnx": file}
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json())
        return folder

    @rule(version=VERSIONS, content=CONTENTS)
    def push(self, version, content):
        before = self.versions.get(version)
        if before not in (None, content):
            with pytest.raises(RegistryError, match="other content"):
                self.registry.push(self.package(version, content))
            return
        _, new = self.registry.push(self.package(version, content))
        assert new == (before is None)
        self.versions[version] = content

    @rule(alias=ALIASES, version=VERSIONS)
    def move(self, alias, version):
        if version not in self.versions:
            with pytest.raises(RegistryError, match="not in the registry"):
                self.registry.move("m", alias, version, reason="x")
            return
        self.registry.move("m", alias, version, reason="x")
        self.moves.setdefault(alias, []).append(version)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def damage_and_mend(self, data):
        version = data.draw(st.sampled_from(sorted(self.versions)))
        file = self.registry.published("m", version).manifest.files["onnx"]
        (self.registry.storage.root / blob_path(file.sha256)).write_bytes(b"?")
        with pytest.raises(ArtifactCorrupt):
            self.registry.fetch(file)
        self.registry.push(self.package(version, self.versions[version]))

    @rule(old=st.booleans())
    def collect(self, old):
        stray = self.registry.blobs.add_bytes(b"of a push that was killed")
        for path in self.registry.storage.files("blobs") if old else ():
            os.utime(self.registry.storage.root / path, (0, 0))
        assert len(collect(self.registry, delete=True).files) == old
        assert self.registry.blobs.has(stray.sha256) != old

    @invariant()
    def all_is_there(self):
        assert self.registry.versions("m") == sorted(self.versions)
        for version, content in self.versions.items():
            file = self.registry.resolve(f"m@{version}").manifest.files["onnx"]
            assert self.registry.fetch(file).read_bytes() == content
        assert self.registry.aliases.names("m") == sorted(self.moves)
        for alias, moves in self.moves.items():
            assert [move.version for move in self.registry.aliases.history("m", alias)] == moves
            assert self.registry.resolve(f"m@{alias}").manifest.version == moves[-1]
        assert verify(self.registry).problems == []


Model.TestCase.settings = settings(max_examples=25, stateful_step_count=15)
TestModel = Model.TestCase
