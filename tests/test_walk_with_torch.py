"""The commands of README and the quick start that need training, as a reader types them, on a few pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import walk

pytestmark = pytest.mark.torch

SKIPPED = {
    r"^(?!.*\bmine\b)(?!.*reports/)": "needs no training: packaging/test_walk.py",
    r"dfbench card": "takes minutes; see benchmarks/tests/cli/test_card.py",
}


def test_a_run_is_trained_compared_and_exported_as_the_pages_say(tmp_path):
    walk.lay_out(tmp_path)
    found = walk.chosen(SKIPPED)
    for word in (
        "train lite --data",
        "--resume",
        "--detector runs/mine",
        "scores versus",
        "leaderboard",
        "export runs/",
    ):
        assert any(word in step.command for step in found), word
    walk.walk(found, tmp_path, Path(sys.executable).parent)
    assert (tmp_path / "mine.onnx").is_file()
