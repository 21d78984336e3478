"""What the project brings with it besides code."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_documents_about_data_and_people_are_there():  # 001-34
    for file, words in (
        ("docs/data-licence.md", "research"),
        ("docs/privacy.md", "consent"),
        ("docs/limits.md", "evidence"),
    ):
        assert words in (ROOT / file).read_text("utf-8"), file


def test_container_integration_run_and_template_are_there():  # 001-35
    assert "deepfake" in (ROOT / "Dockerfile").read_text("utf-8")
    assert "tox" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert "entry-points.deepfake" in (ROOT / "plugins" / "_template" / "pyproject.toml").read_text("utf-8")


def test_what_is_said_to_be_supported_is_what_is_tested():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    versions = [int(minor) for minor in re.findall(r":: Python :: 3\.(\d+)", "\n".join(about["classifiers"]))]
    assert versions == list(range(min(versions), max(versions) + 1))
    tested = f">=3.{min(versions)},<3.{max(versions) + 1}"
    for file in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")):
        assert tomllib.loads(file.read_text("utf-8"))["project"]["requires-python"] == tested, file
    systems = [line for line in about["classifiers"] if line.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]
    settings = (ROOT / "tox.ini").read_text("utf-8")
    assert all(f"py3{minor}-" in settings for minor in versions), "tox.ini says how each version is tested"
