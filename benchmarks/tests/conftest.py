"""A detector small enough to compute by hand, installed as a plugin would be."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

TINY_PLUGIN = """
from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DetectorSpec, Target

@hookimpl
def deepfake_detectors():
    yield DetectorSpec(
        name="tiny", summary="brightness of the face", detector="tiny_plugin:Missing", install="tiny[torch]",
        weights="tiny_plugin_data:weights",
        targets=(
            Target(metric="latency_ms_p50", scenario="single_stream", comparison="<=", value=1e6, source="test"),
            Target(metric="file_mb", scenario="cold_start", comparison="<=", value=1e-9, source="test"),
            Target(metric="auc", scenario="accuracy", comparison=">=", value=0.9, source="test",
                   condition="dataset: elsewhere"),
        ),
    )
    yield DetectorSpec(name="bare", summary="no weights", detector="tiny_plugin_gone:X", install="bare[torch]")
"""
BROKEN_PLUGIN = "raise ImportError('half of it is missing')\n"
SIDE, CELLS = 64, 4


def write_tiny_model(folder: Path) -> None:
    """A packaged model whose logit is (mean pixel − 100) / 20, and whose evidence is the same for each cell."""
    import onnx
    from onnx import TensorProto, helper

    from deepfake_core.artifacts import write_package
    from deepfake_registry.manifest import (
        MANIFEST_KEY,
        Calibration,
        FaceCrop,
        Normalize,
        PreprocessSpec,
        Resize,
        image_manifest,
    )

    manifest = image_manifest(
        name="tiny",
        architecture="tiny",
        version="1",
        weights="trained",
        evidence=(CELLS, CELLS),
        calibration=Calibration(fitted_on="nothing"),
        preprocess=PreprocessSpec(
            crop=FaceCrop(), resize=Resize(height=SIDE, width=SIDE), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1))
        ),
    )
    kernel = SIDE // CELLS
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "middle"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "all_axes"], ["logit"], keepdims=0),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[kernel] * 2, strides=[kernel] * 2),
        helper.make_node("ReduceMean", ["cells", "channel"], ["evidence"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["N", CELLS, CELLS]),
        ],
        [
            helper.make_tensor("middle", TensorProto.FLOAT, [], [100.0]),
            helper.make_tensor("scale", TensorProto.FLOAT, [], [20.0]),
            helper.make_tensor("all_axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("channel", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    file = folder.parent / "tiny.onnx"
    onnx.save(model, file)
    write_package(folder, manifest, {"onnx": file})


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``sys.path`` that holds two installed plugins: ``tiny`` (and ``bare``), and a broken one."""
    root = tmp_path_factory.mktemp("site")
    for name, code in {"tiny": TINY_PLUGIN, "broken": BROKEN_PLUGIN}.items():
        (root / f"{name}_plugin.py").write_text(code)
        info = root / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[deepfake]\n{name} = {name}_plugin\n")
    (root / "tiny_plugin_data").mkdir()
    (root / "tiny_plugin_data" / "__init__.py").touch()
    if find_spec("onnx") is not None:
        write_tiny_model(root / "tiny_plugin_data" / "weights")
    return root


@pytest.fixture(scope="session")
def environment(site: Path) -> dict[str, str]:
    """Environment of a process that has the plugins of ``site`` installed."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


@pytest.fixture
def tiny(site: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The plugins of ``site`` in this process and in those that it starts; gives the detector's name."""
    from deepfake_core import plugins

    monkeypatch.syspath_prepend(str(site))
    for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, environment[name])
    plugins.catalogue.cache_clear()
    yield "tiny"
    plugins.catalogue.cache_clear()


@pytest.fixture(scope="session")
def dfbench(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``dfbench`` in a process of its own."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "deepfake_bench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, env={**environment, **(env or {})}, check=False)

    return run


@pytest.fixture(scope="session")
def nasty() -> Callable[[Path], list[Path]]:
    """Write a folder of bad files; the collection belongs to the tests of the inputs."""
    folder = Path(__file__).parents[2] / "core" / "tests"
    sys.path.insert(0, str(folder))
    try:
        write: Callable[[Path], list[Path]] = importlib.import_module("nasty").write_nasty_folder
    finally:
        sys.path.remove(str(folder))
    return write
