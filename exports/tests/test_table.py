"""The table of what each export costs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.runtimes.torch import TorchRuntime
from deepfake_exports.table import Cell, Table, cell, timed_again, with_logits


@pytest.fixture(scope="module")
def loaded(case):
    spec = DetectorSpec(name="tiny", summary="tiny", detector=f"{__name__}:none", install="tiny[torch]")
    detector = LoadedDetector(spec, TorchRuntime(case.network, case.manifest, device="cpu"))
    detector.__dict__["detector"] = case.detector
    return detector


@pytest.mark.parametrize(
    ("format", "precision", "smaller"),
    [
        ("onnx", "fp32", False),
        ("onnx", "fp16-storage", True),
        ("onnx", "int8-weights", True),
        ("pt2", "fp32", False),
        ("torchscript", "fp32", False),
    ],
)
def test_a_cell_holds_what_was_measured(case, loaded, format, precision, smaller):
    made = cell(loaded, format, precision, data="made-up", calibration_images=case.images, labels=case.fake)
    assert (made.data, made.samples) == ("made-up", 24)
    assert (made.detector, made.version, made.weights) == ("tiny", "1.2.3", "untrained")
    assert not made.reason
    assert made.logit <= (0.1 if smaller else 1e-4)
    assert made.auc <= 0.005
    assert made.p_fake <= 0.02
    assert made.ms > 0
    assert made.ratio > 0
    weights = sum(p.numel() for p in case.network.parameters()) * 4 / 1e6
    assert (made.size_mb < weights) == smaller


def test_the_networks_scores_are_taken_where_they_are_known(case, loaded):
    options = with_logits(loaded, {"calibration_images": case.images, "labels": case.fake})
    plain, known = (cell(loaded, "onnx", "int8-weights", **given) for given in (options | {"logits": None}, options))
    assert (known.auc, known.p_fake, known.logit) == (plain.auc, plain.p_fake, plain.logit)
    options["logits"] = -options["logits"]
    assert "AUC changes by 1.0000" in cell(loaded, "onnx", "int8-weights", **options).reason
    assert cell(loaded, "onnx", "fp32", **options).auc == 1
    options["logits"] = options["logits"][1:]
    assert cell(loaded, "onnx", "int8-weights", **options).reason == "24 labels but logits of shape [23]"
    assert with_logits(loaded, {}) == {}


def test_the_exported_files_are_kept_where_asked(loaded, tmp_path):
    made = cell(loaded, "onnx", "fp32", keep=tmp_path / "files")
    (file,) = (tmp_path / "files").iterdir()
    assert file.name == "tiny-onnx-fp32.onnx"
    assert made.size_mb == file.stat().st_size / 1e6
    again = timed_again(loaded, replace(made, ms=1e9, ratio=1e9), tmp_path / "files")
    assert replace(again, ms=made.ms, ratio=made.ratio, others_share=made.others_share) == made
    assert 0 < again.ms < 1e9
    assert timed_again(loaded, made, tmp_path) is made


def test_a_busy_machine_is_told_below_the_table():
    def timed(precision, share, **changes):
        return Cell("lite", "1", "trained", "onnx", precision, others_share=share, **changes)

    table = Table([timed("fp32", 0.01, ms=1.0), timed("fp16", None, ms=1.0), timed("int4", None, reason="refused")])
    assert table.busy_line() == ""
    assert table.markdown().endswith("|\n")
    table.add(timed("int8", 0.5, ms=1.0))
    assert table.busy_line().startswith(
        "Other work used 50 % of the processors while 1 of 3 exports were timed; repeat"
    )
    assert table.markdown().endswith(f"\n\n{table.busy_line()}\n")


def test_without_labels_there_is_no_auc(loaded):
    made = cell(loaded, "onnx", "fp32")
    assert made.auc is None
    assert (made.data, made.samples) == ("", 0)
    assert made.p_fake < 1e-4


def test_a_refused_export_says_why(loaded):
    made = cell(loaded, "onnx", "int8")
    assert made.reason.startswith("int8 is tuned and checked on labelled pictures")
    assert (made.size_mb, made.logit, made.ms) == (None, None, None)


def test_the_table_is_read_back_and_newer_cells_replace_older_ones(case, tmp_path):
    first = Cell("tiny", "1.2.3", "untrained", "onnx", "fp32", "", 1.0, 1e-6, 1e-3, 0.0, 2.5, 3.0, "faces", 24)
    refused = Cell("tiny", "1.2.3", "untrained", "onnx", "int8", reason="too far off")
    Table([first, refused]).write(tmp_path)
    table = Table.read(tmp_path)
    assert list(table.cells.values()) == [first, refused]
    assert table.holds(case.manifest, "onnx", "int8")
    assert not table.holds(case.manifest, "pt2", "fp32")
    assert not table.holds(case.manifest.model_copy(update={"version": "2"}), "onnx", "fp32")
    newer = Cell("tiny", "2", "trained", "onnx", "fp32", "", 1.0, 1e-6, 0.0, 0.0, 2.5, 3.0)
    table.add(newer)
    assert list(table.cells.values()) == [newer, refused]
    lines = (tmp_path / "PARITY.md").read_text().splitlines()[-2:]
    assert (
        lines[0] == "| tiny | untrained | onnx | fp32 | 1.0e-06 | 0.0010 | 0.0e+00 | 1.00 | 2.5 | 3.00 | 24 of faces |"
    )
    assert lines[1] == "| tiny | untrained | onnx | int8 | absent: too far off | | | | | | |"
    assert Table.read(tmp_path, anew=True).cells == {}


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"cells": [{"name": "x"}]})])
def test_another_file_of_that_name_is_refused(tmp_path, text):
    (tmp_path / "parity.json").write_text(text)
    with pytest.raises(DeepfakeError, match=r"not a table of this version .* begin anew with --again"):
        Table.read(tmp_path)
