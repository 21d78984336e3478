"""Standard streams that are closed, full, or read no further: one line, the right status, and whole rows."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.progress import track

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell and limits of POSIX")
FULL = Path("/dev/full")
LOST = "dfbench: standard output cannot be written ({}); free space"
PRINT = """
import resource, sys
from deepfake_bench.cli.output.streams import whole_output
limit, long = int(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
with whole_output():
    for number in range(1000):
        print(number, "x" * long, sep=",", flush=True)
"""


@pytest.fixture
def photo(tmp_path):
    """A picture with a face."""
    Image.fromarray(draw_face(1)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def run(environment):
    """Return a function that runs ``dfbench`` by a shell that redirects its standard streams."""

    def run(redirected: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", f'exec "$0" -m deepfake_bench "$@" {redirected}', sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    return run


def test_a_closed_standard_error_costs_no_row(run, tiny, photo, tmp_path):
    missing = str(tmp_path / "missing.jpg")
    done = run("2>&-", "predict", str(photo), missing, "--detector", tiny, "--format", "csv", "--timings")
    assert done.returncode == 0
    verdicts = [line.split(",")[1] for line in done.stdout.splitlines()]
    assert verdicts[0] == "verdict"
    assert verdicts[1] in ("real", "fake")
    assert verdicts[2:] == ["error"]


@pytest.mark.parametrize("arguments", [("list",), ("--help",)])
def test_a_closed_standard_output_is_one_line_and_a_status(run, arguments):
    done = run(">&-", *arguments)
    assert done.returncode == ExitStatus.REJECTED
    assert done.stderr.startswith(LOST.format(os.strerror(errno.EBADF)))
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_one_line_and_a_status_also_where_no_stream_is_left_to_say_so(run):
    done = run("> /dev/full", "list", "--format", "json")
    assert done.returncode == ExitStatus.REJECTED
    assert done.stderr.startswith(LOST.format(os.strerror(errno.ENOSPC)))
    assert done.stderr.count("\n") == 1
    assert run("> /dev/full 2> /dev/full <&-", "list").returncode == ExitStatus.REJECTED


@pytest.mark.parametrize(("limit", "long"), [(100, 20), (30_000, 12_000)])  # a long row needs several writes
def test_a_file_keeps_whole_rows_where_the_disk_is_full(environment, tmp_path, limit, long):
    file = tmp_path / "out.csv"
    command = [sys.executable, "-c", PRINT, str(limit), str(long)]
    with file.open("w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert done.returncode == ExitStatus.REJECTED
    assert done.stderr.startswith(LOST.format(os.strerror(errno.EFBIG)))
    rows = file.read_text().splitlines(keepends=True)
    assert rows
    assert all(row == f"{number},{'x' * long}\n" for number, row in enumerate(rows))


def test_a_reader_that_has_read_enough_ends_the_command_without_a_word(environment):
    command = [sys.executable, "-c", PRINT, "0", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"0,x")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == ExitStatus.READER_GONE


def test_progress_needs_no_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(track([1, 2], "judging")) == [1, 2]


def test_a_file_that_cannot_be_read_is_one_line(run, tmp_path):
    (tmp_path / "report.json").mkdir()
    done = run("", "report", str(tmp_path / "report.json"))
    assert done.returncode == ExitStatus.REJECTED
    assert "report.json" in done.stderr
    assert done.stderr.count("\n") == 1
