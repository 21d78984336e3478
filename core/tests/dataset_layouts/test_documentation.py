"""What docs/datasets.md says holds for the code."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest
from layouts import picture, write

from deepfake_core.datasets.opening import open_dataset, parse
from deepfake_core.discovery import plugins

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_every_layout_has_its_row_with_an_example() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|.*\| `dfbench data check ([^`]+)` \|$", TEXT, re.MULTILINE)
    ours = {name for name, entry in plugins.datasets().items() if entry.distribution == "deepfake-core"}
    assert [name for name, _ in rows] == list(dict(rows))
    assert {name for name, _ in rows} == ours
    for name, words in rows:
        (address,) = shlex.split(words)
        assert parse(address).name == name
        open_dataset(address)  # its options exist and have the right type


def test_every_option_is_listed() -> None:
    section = TEXT.partition("## Options")[2].partition("\n**")[0]
    listed = {}
    for names, text in re.findall(r"^\| (`.*`) \| (.*) \|$", section, re.MULTILINE):
        for name in re.findall(r"`([a-z0-9-]+)`", names):
            listed[name] = set(re.findall(r"([a-z]+)=", text))
    for name, entry in plugins.datasets().items():
        kind = plugins.import_object(entry.spec.dataset)
        assert listed.get(name, set()) == set(list(inspect.signature(kind).parameters)[1:]), name


def test_python_on_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    exec(blocks("python")[0], {})
    assert "sample/00" in capsys.readouterr().out


def test_the_plugin_on_the_page_works(tmp_path: Path, fresh_plugins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    code, points = blocks("python")[1], blocks("toml")[0]
    assert len(code.split("yield DatasetSpec")[1].splitlines()) <= 15
    write(
        tmp_path,
        {
            "my_dataset.py": code,
            "my_dataset-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: my-dataset\nVersion: 1\n",
            "my_dataset-1.dist-info/entry_points.txt": points.replace("project.entry-points.", "").replace('"', ""),
            "set/ann.real.png": picture("real"),
            "set/bob.fake.png": picture("fake"),
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        samples = list(open_dataset(f"by-suffix:{tmp_path / 'set'}?ending=png"))
    finally:
        sys.modules.pop("my_dataset", None)
    assert [(sample.group, sample.is_fake) for sample in samples] == [("ann", 0), ("bob", 1)]
