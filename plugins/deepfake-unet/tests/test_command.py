"""The help of ``python -m deepfake_unet.…``."""

from __future__ import annotations

import importlib
import shlex

import pytest
import typer

from deepfake_unet.command import program


@pytest.mark.parametrize("name", ["demo.main", "evaluate.evaluate", "verdicts.verdicts"])
def test_help_ends_with_examples_that_parse(name):
    module, function = name.split(".")
    pytest.importorskip("matplotlib")
    made = typer.main.get_command(program(getattr(importlib.import_module(f"deepfake_unet.{module}"), function)))
    *_, end = made.get_help(made.context_class(made, info_name=module)).split("Examples:\n")
    for line in end.splitlines():
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", f"deepfake_unet.{module}"]
        made.make_context(module, words[3:])
