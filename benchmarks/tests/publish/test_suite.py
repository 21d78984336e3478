"""The scripts that put this project beside torch, the machine and what users would pick instead: how they judge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import caught
import contenders
import exported
import goals
import peers
import pytest

from deepfake_core.runtimes.cpu_contention import CpuContention


def test_files_are_found_by_their_names(tmp_path):
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


def test_a_goal_is_met_or_missed():
    assert goals.Row("gain", 2.999, goal=exported.GAIN["siglip"]).line().endswith("| 2.999 | ≥ 3 | **missed** |")
    assert goals.Row("gain", 3.0, goal=exported.GAIN["siglip"]).line().endswith("| 3 | ≥ 3 | met |")
    assert goals.Row("load", 0.601, "s", exported.LOAD_S).line().endswith("| 0.601 s | ≤ 0.6 | **missed** |")
    assert goals.Row("gain", 3.0, goal=exported.GAIN["siglip"]).line(idle=False).endswith("| machine not idle |")
    assert goals.Row("time", 5, "ms", note="why").line() == "| time | 5 ms (why) | | |"
    assert goals.Row("peer", None, note="not installed").line() == "| peer | not installed | | |"


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "missed"), (0.5, "machine not idle")])
def test_what_is_printed_is_written_as_json(tmp_path, capsys, monkeypatch, share, verdict):
    monkeypatch.setattr(CpuContention, "share", lambda self: share)
    rows = [
        goals.Row("**ours / peer**", 1.2, goal=goals.NOT_SLOWER),
        goals.Row("size", 0.2, goal=goals.NOT_SLOWER, timed=False),
        goals.Row("peer", None, note="not installed"),
    ]
    goals.publish(iter(rows), threads=2, file=tmp_path / "table.json")
    table = json.loads((tmp_path / "table.json").read_text())
    assert [(row["what"], row["value"], row["goal"], row["verdict"]) for row in table["rows"]] == [
        ("**ours / peer**", 1.2, "≤ 1.05", verdict),
        ("size", 0.2, "≤ 1.05", "met"),
        ("peer", None, "", ""),
    ]
    assert (table["threads"], table["others_share"]) == (2, share)
    assert table["created"]
    printed = capsys.readouterr().out
    assert table["machine"]["cpu"] in printed
    assert all(row.line(share == 0) in printed for row in rows)


def test_a_table_that_is_cut_off_keeps_its_lines(tmp_path):
    def rows():
        yield goals.Row("first", 1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        goals.publish(rows(), threads=2, file=tmp_path / "table.json")
    assert [row["what"] for row in json.loads((tmp_path / "table.json").read_text())["rows"]] == ["first"]


def test_ours_is_compared_in_the_peers_precision():
    def make(name, **about):
        return contenders.Contender(name, {}, **about)

    everyone = [
        make("pipeline", eager=True),
        make("compiled", computes="bf16"),
        make("elsewhere"),
        make("ours on torch", ours=True, eager=True),
        make("ours on onnxruntime", ours=True),
        make("ours in bf16", ours=True, computes="bf16"),
    ]
    ms = {"pipeline": 20, "compiled": 4, "ours on torch": 22, "ours on onnxruntime": 10, "ours in bf16": 5}
    rows = list(peers.compared("net", everyone, ms))
    assert [row.what for row in rows if row.goal is None] == [f"net, {name}" for name in ms]
    assert {row.what: row.value for row in rows if row.goal} == {
        "**net, ours on onnxruntime / pipeline**": 0.5,
        "**net, ours on torch / pipeline**": 1.1,
        "**net, ours in bf16 / compiled**": 1.25,
    }


def test_who_cannot_take_part_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "find_spec", lambda module: None)
    item = contenders.Architecture("nobody", tuple(contenders.PEERS))
    *absent, ours = peers.contest(item, tmp_path, "picture.jpg", threads=1, repeats=1)
    assert {row.what: row.value for row in absent} == {f"nobody, {name}": None for name in contenders.PEERS}
    assert all(row.note.startswith("not installed: `pip install") for row in absent)
    assert "unknown detector 'nobody'" in ours.note
    (row,) = peers.processes(tmp_path, "picture.jpg", "lite", untrained=False, starts=1)
    assert row.note == "not installed: `pip install transformers torch`"


def test_processes_take_turns():
    commands = {name: [sys.executable, "-c", "pass"] for name in ("theirs", "ours")}
    rows = list(peers.processes_compared(commands, starts=1))
    assert [(row.unit, row.goal) for row in rows] == [
        *[("s", None), ("MB", None)] * 2,
        ("", peers.WALL),
        ("", peers.MEMORY),
    ]
    assert rows[-1].value == pytest.approx(rows[3].value / rows[1].value)
    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(SystemExit, match="status 3 from"):
        peers.measured(failing)


def test_a_contender_answers_from_another_process():
    code = "import sys; print('hello'); print('done', flush=True)\nfor line in sys.stdin: print('done', flush=True)"
    with contenders.Worker([sys.executable, "-c", code]) as worker:
        worker.ask("file")
        worker.ask("network")
        assert worker.process.poll() is None
    assert worker.process.returncode == 0
    with (
        pytest.raises(SystemExit, match="status 4 from"),
        contenders.Worker([sys.executable, "-c", "raise SystemExit(4)"]),
    ):
        pytest.fail("it never said that it is ready")


SMALL_CONTEST = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import contenders, peers
from deepfake_bench.scenarios.speed.portrait import write_picture
folder = Path(sys.argv[2])
small = {"embed_dim": (8, 16, 32), "num_heads": (1, 2, 2), "depth": (1, 2, 3)}
config = {"backbone": "cvt-test", "image_size": 64, "crop": "whole"}
item = contenders.Architecture("cvt", (contenders.PIPELINE, contenders.OPENVINO), config, small)
rows = peers.contest(item, folder, str(write_picture(folder)), threads=1, repeats=1)
print(json.dumps([row.record() for row in rows]))
"""


@pytest.mark.torch
def test_a_small_network_beside_its_peers(tmp_path):
    pytest.importorskip("transformers", reason="the peer is transformers.pipeline")
    # In a process of its own, as the script is: it sets torch's threads.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SMALL_CONTEST, str(Path(peers.__file__).parent), str(tmp_path)],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    rows = json.loads(done.stdout.splitlines()[-1])
    measured = {row["what"]: row for row in rows if row["value"] is not None}
    for stage in (contenders.FILE, contenders.NETWORK):
        what = f"cvt (untrained), {stage}"
        times = [measured[f"{what}, {name}"] for name in ("ours on torch", "ours on onnxruntime", contenders.PIPELINE)]
        assert all(row["value"] > 0 and row["unit"] == "ms" for row in times)
        ratio = measured[f"**{what}, ours on torch / {contenders.PIPELINE}**"]
        assert ratio["value"] == pytest.approx(times[0]["value"] / times[2]["value"])
        assert ratio["goal"] == str(peers.NOT_SLOWER)


def test_a_detector_is_slowed_by_the_factor_asked_for(monkeypatch):
    clock = iter([10.0, 12.0, 12.05, 12.1, 12.2, 12.3])  # the call takes 2 s, so that a tenth more ends at 12.2
    monkeypatch.setattr(caught.time, "perf_counter", lambda: next(clock))
    assert caught.slowed(lambda value: value + 1, 1.1)(3) == 4
    assert list(clock) == [12.3]


def test_what_runs_slowed_is_run_as_python_runs_it():
    def run(*arguments):
        code = "import sys; from caught import as_python; as_python(1.1, ['lite'], sys.argv[1:])"
        environment = {**os.environ, "PYTHONPATH": str(Path(caught.__file__).parent)}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True, env=environment
        )
        return done.stdout.decode().split()

    assert run("-c", "print(__name__, 1 + 1)") == ["__main__", "2"]
    assert run("-m", "deepfake_bench", "--help")[0] == "Usage:"
