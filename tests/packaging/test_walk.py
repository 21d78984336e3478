"""README and the quick start as a new user walks them: their own lines, in a new environment, without torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import walk

pytestmark = pytest.mark.skipif(
    "DEEPFAKE_PACKAGING_TESTS" not in os.environ,
    reason="fills an environment; run by: tox -e packaging",
)

SKIPPED = {
    r"\[torch\]|\[train\]|\[report\]": "needs the full installation, of gigabytes",
    r"\btox\b": "runs these tests",
    r"\bmine\b|dfbench (train|scores|card)": "needs a trained model: test_walk_with_torch.py",
    r"untrained_probe": "needs torch",
    r"robustness": "takes as long as all other commands together",
    **({} if shutil.which("jq") else {r"\bjq\b": "jq is not installed"}),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the repository's files, as a clone has them, with the reader's own files beside them."""
    if not (walk.ROOT / ".git").exists():
        pytest.skip("no clone, which tells the project's files from others")
    folder = tmp_path_factory.mktemp("clone") / "deepfake-core"
    files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(files, cwd=walk.ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (walk.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(walk.ROOT / name, folder / name)
    walk.lay_out(folder)
    return folder


def test_a_new_user_gets_what_the_pages_say(checkout):
    start, *others = walk.chosen(SKIPPED)
    assert re.match(r"python3\.\d+ -m venv \.venv && ", start.command)
    walk.type_in(start.command, checkout)
    programs = checkout / ".venv" / "bin"
    subprocess.run([programs / "python", "-c", walk.CLIP], cwd=checkout, check=True)
    installing = [step for step in others if "venv" in step.command or step.command.startswith("pip install")]
    rest = [step for step in others if step not in installing]
    assert len(rest) >= 12
    assert any(step.output for step in rest)
    walk.walk(rest, checkout, programs)
    assert list((checkout / "out").iterdir())
    assert (checkout / "scores.csv").read_text("utf-8").startswith("source,verdict,p_fake")
