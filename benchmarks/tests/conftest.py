"""A detector small enough to compute by hand, installed as a plugin would be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake_bench.records.report import Machine, Measurement, Report
from deepfake_core.discovery.artifacts import read_bare, write_package

TINY_PLUGIN = """
from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import DetectorSpec, Target

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
    yield DetectorSpec(name="from-hub", summary="published elsewhere", detector="tiny_plugin_gone:X",
        hub="someone/faces", install="from-hub[torch]")
"""
BROKEN_PLUGIN = "raise ImportError('half of it is missing')\n"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``sys.path`` with two installed plugins: ``tiny`` (and ``bare``, ``from-hub``), and a broken one."""
    root = tmp_path_factory.mktemp("site")
    for name, code in {"tiny": TINY_PLUGIN, "broken": BROKEN_PLUGIN}.items():
        (root / f"{name}_plugin.py").write_text(code)
        info = root / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[deepfake]\n{name} = {name}_plugin\n")
    (root / "tiny_plugin_data").mkdir()
    (root / "tiny_plugin_data" / "__init__.py").touch()
    model = Path(__file__).with_name("tiny.onnx")
    write_package(root / "tiny_plugin_data" / "weights", read_bare(model).manifest, {"onnx": model})
    return root


@pytest.fixture(scope="session")
def environment(site: Path) -> dict[str, str]:
    """Environment of a process that has the plugins of ``site`` installed."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


@pytest.fixture
def tiny(site: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The plugins of ``site`` in this process and in those that it starts; gives the detector's name."""
    from deepfake_core.discovery import plugins

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
def idle() -> Callable[[Path], Report]:
    """Rewrite the file of a report as if other work had left the processors alone, and return the report."""

    def rewrite(file: Path) -> Report:
        report = Report.model_validate_json(file.read_bytes())
        rows = [row.model_copy(update={"others_share": 0.0}) for row in report.measurements]
        report = report.model_copy(update={"measurements": rows})
        report.write(file)
        return report

    return rewrite


@pytest.fixture(scope="session")
def measured() -> Callable[..., Measurement]:
    """Make a measurement: of ``lite``, and of anything else that is named."""

    def make(scenario: str = "single_stream", **fields: Any) -> Measurement:
        common = {"detector": "lite", "version": "1", "weights": "trained", "backend": "onnxruntime", "device": "cpu"}
        return Measurement.model_validate(
            {**common, "threads": 2, "status": "measured", "scenario": scenario, **fields}
        )

    return make


@pytest.fixture(scope="session")
def judged() -> Callable[..., Measurement]:
    """Make an accuracy measurement: AUC and half the width of its interval by source."""

    def make(
        aucs: dict[str, tuple[float, float]], *, data: str = "faces", sha256: str = "a" * 64, **fields: Any
    ) -> Any:
        sources = [
            {
                "source": name, "real": 20, "fake": 20, "groups": 20, "no_face_rate": 0, "error_rate": 0,
                "unsure_rate": 0, "metrics": {"auc": {"value": auc, "low": auc - half, "high": auc + half}},
            }
            for name, (auc, half) in aucs.items()
        ]  # fmt: skip
        dataset = {"name": data, "layout": "image-folder", "path": "/secret/place", "samples": 40, "sha256": sha256}
        common = {"detector": "lite", "version": "1", "weights": "trained", "backend": "onnxruntime", "device": "cpu"}
        mean = sum(auc for auc, _ in aucs.values()) / len(aucs)
        return Measurement.model_validate(
            {
                **common, "threads": 2, "status": "measured", "scenario": "accuracy", "dataset": dataset,
                "sources": sources, "metrics": {"auc": mean}, **fields,
            }
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def report_of() -> Callable[..., Report]:
    """Make a report of measurements, on a machine of the given CPU."""

    def make(*rows: Measurement, created: str = "2026-01-02T03:04:05+00:00", **cpu: str) -> Report:
        about = {"cpu": "CPU one", "system": "S", "python": "3.12", "libraries": {"numpy": "2.4"}, **cpu}
        machine = Machine(cores=2, allowance=2, memory_mb=8000, **about)
        return Report(project_version="0.1.0", created=created, machine=machine, measurements=list(rows))

    return make
