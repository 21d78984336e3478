"""What the project brings with it besides code."""

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
