"""Model cards: Markdown pages whose prose is written by people and whose numbers are measured.

Their blocks are of the kind ``card``, see :mod:`deepfake_bench.card.marks`. :mod:`deepfake_bench.card.blocks` lists
them; the blocks ``pictures`` and ``evidence`` write PNG files into a folder beside the page that has the page's name.
Given the same findings, a page is the same to the last byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from deepfake_bench.card import marks
from deepfake_bench.card.blocks import BLOCKS
from deepfake_bench.card.findings import Findings
from deepfake_registry.files import write_atomic

KIND = "card"
PICTURES = "pictures"
EVIDENCE = "evidence"


NO_PICTURES = "No pictures: no face was found in those that may be shown."


SECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": ("identity",),
        "How to read the score": ("score",),
        "Training data": ("sources", "shortcuts"),
        "How to reproduce it": ("recipe",),
        "Accuracy": ("accuracy",),
        "Seen in training, and left out of it": ("validation", "leave_one_out"),
        "Calibration": ("calibration", "false_alarms"),
        "Robustness": ("robustness",),
        "Does it read the face or the file?": ("codec",),
        "Speed": ("speed",),
        "Figures": (PICTURES,),
        "Where it looked": (EVIDENCE,),
    }
)
"""Heading of a section → its blocks, in a card that is begun."""


def begin(page: Path, name: str) -> None:
    """Write the page of a new card, with a section for each block, in which people then write."""
    parts = [f"# {name}", "What it is for, and what it is not for: write it here."]
    for heading, blocks in SECTIONS.items():
        parts += [f"## {heading}"] if heading else []
        parts += [f"<!-- {KIND}: {block} -->\n<!-- /{KIND} -->" for block in blocks]
    parts += ["## Limits and ethics", "Whom and what it fails on, and who has to decide: write it here."]
    write_atomic(page, "\n\n".join(parts) + "\n")


def blocks_of(page: Path) -> list[str]:
    """Return the names of the blocks that a page marks.

    Raises:
        DeepfakeError: The page cannot be read, marks no block or an unknown one, or leaves one open.
    """
    return marks.marked(page, KIND, [*BLOCKS, PICTURES, EVIDENCE])


def fill(page: Path, findings: Findings) -> None:
    """Write the findings between the marks of a page, whole or not at all.

    Raises:
        DeepfakeError: The marks of the page are faulty.
        MissingExtra: The page has a block of pictures, and matplotlib is absent.
    """
    contents = {name: _content(name, page, findings) for name in blocks_of(page)}
    marks.fill(page, KIND, contents)


def _content(name: str, page: Path, findings: Findings) -> str:
    folder = page.with_suffix("")
    if name == EVIDENCE:
        for item in findings.evidence:
            write_atomic(folder / item.file, item.png)
        shown = (
            f"**{item.title}.** {item.caption}\n\n![{item.caption}]({page.stem}/{item.file})"
            for item in findings.evidence
        )
        return "\n\n".join(shown) or NO_PICTURES
    if name == PICTURES:
        from deepfake_bench.card.plots import draw  # matplotlib is optional

        captions = draw(findings, folder)
        return "\n\n".join(f"![{caption}]({page.stem}/{file})" for file, caption in captions.items())
    return BLOCKS[name](findings)
