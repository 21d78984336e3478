"""The script that puts exported models beside torch, optimum and the machine: what it reads and how it judges."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from deepfake_bench.machine import Bystanders


@pytest.fixture(scope="module")
def exported():
    sys.path.insert(0, str(Path(__file__).parents[1] / "suite"))
    try:
        yield importlib.import_module("exported")
    finally:
        sys.path.pop(0)


def test_files_are_found_by_their_names(exported, tmp_path):
    sizes = {"siglip-onnx-fp32.onnx": 400, "siglip-onnx-int8.onnx": 100, "cvt-openvino-int8.xml": 10}
    others = {"cvt-openvino-int8.bin": 30, "radar-openvino-fp16-storage.xml": 5, "radar-openvino-fp16-storage.bin": 5}
    for name, size in {**sizes, **others, "parity.json": 1, "siglip-onnx-int4.onnx": 1}.items():
        (tmp_path / name).write_bytes(b"0" * size)
    found = exported.found(tmp_path)
    assert {"-".join(key) for key in found} == {
        "siglip-onnx-fp32",
        "siglip-onnx-int8",
        "cvt-openvino-int8",
        "radar-openvino-fp16-storage",
    }
    assert found["cvt", "openvino", "int8"].size_bytes == 40
    (row,) = exported.sizes(found)
    assert row.line() == "| siglip-onnx-int8.onnx, size / fp32 | 0.25 | ≤ 0.27 | met |"


def test_a_goal_is_met_or_missed(exported):
    assert exported.Row("gain", 2.999, goal=exported.GAIN["siglip"]).line().endswith("| 2.999 | ≥ 3 | **missed** |")
    assert exported.Row("gain", 3.0, goal=exported.GAIN["siglip"]).line().endswith("| 3 | ≥ 3 | met |")
    assert exported.Row("load", 0.601, "s", exported.LOAD_S).line().endswith("| 0.601 s | ≤ 0.6 | **missed** |")
    assert exported.Row("gain", 3.0, goal=exported.GAIN["siglip"]).line(idle=False).endswith("| machine not idle |")
    assert exported.Row("time", 5, "ms", note="why").line() == "| time | 5 ms (why) | | |"


def test_work_of_others_and_own_work_are_told_apart(monkeypatch):
    assert 0 <= Bystanders().share() <= 1
    clock = iter([(100.0, 40.0, 7.0), (120.0, 55.0, 17.0)])  # of 20 s, 15 s were busy and 10 s of them were ours
    monkeypatch.setattr(Bystanders, "_now", staticmethod(lambda: next(clock)))
    assert Bystanders().share() == pytest.approx(0.25)
