"""The blocks ``<!-- code: FILE -->`` of the documentation: files of the repository, shown in full.

The tests run the files themselves, and the pages show them wherever they are read, in the repository or on the built
site.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deepfake_bench.card import marks
from deepfake_core.errors import DeepfakeError

KIND = "code"
_LANGUAGES = {".html": "html", ".mjs": "js", ".py": "python", ".toml": "toml"}


def filled_pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each page of ``root/docs`` that marks code, and its text with that code.

    Raises:
        DeepfakeError: A page leaves a block open, or a file cannot be read.
    """
    files = {path.relative_to(root).as_posix(): path for path in sorted(_files(root))}
    for page in sorted((root / "docs").glob("*.md")):
        text = marks.read_page(page)
        if f"<!-- {KIND}: " in text:
            names = marks.marked(page, KIND, files)
            yield page, marks.filled(text, KIND, {name: _shown(files[name]) for name in names})


def _files(root: Path) -> Iterator[Path]:
    for folder in (root / "docs" / "snippets", root / "plugins" / "_template"):
        yield from (path for path in folder.rglob("*") if path.suffix in _LANGUAGES)


def _shown(file: Path) -> str:
    try:
        code = file.read_text(encoding="utf-8").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeepfakeError(f"{file}: cannot be read ({error})") from error
    return f"```{_LANGUAGES[file.suffix]}\n{code}\n```"
