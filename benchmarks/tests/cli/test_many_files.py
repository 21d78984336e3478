"""``dfbench predict`` of many files: no result is kept, and inputs are listed while others are judged."""

from __future__ import annotations

import gc

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.cli.output import writers
from deepfake_core import progress
from deepfake_core.handle.predictor import Predictor
from deepfake_core.handle.results import Result


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "table"])
def test_predict_keeps_neither_inputs_nor_results(tiny, monkeypatch, form):
    monkeypatch.setattr(progress, "MOST_COUNTED", 4)
    listed, alive, ahead = set(), [], []
    expand, row = Predictor.expand, writers.WRITERS[form].row

    def counted(self, inputs):
        for source in expand(self, inputs):
            listed.add(source.name)
            yield source

    def watched(self, result):
        row(self, result)
        ahead.append(len(listed) - len(ahead))
        if len(ahead) % 100 == 0:
            alive.append(sum(type(thing) is Result for thing in gc.get_objects()))

    monkeypatch.setattr(Predictor, "expand", counted)
    monkeypatch.setattr(writers.WRITERS[form], "row", watched)
    missing = [f"missing{number}.jpg" for number in range(400)]
    done = CliRunner().invoke(app, ["predict", *missing, "--detector", "tiny", "--format", form])
    assert done.exit_code == 3
    assert done.stdout.count("missing") >= 400
    assert len(ahead) == 400
    assert max(ahead) < 50
    assert max(alive) < 50
