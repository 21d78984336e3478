"""Folders of results with drawn scores, as runs that leave out each source would have written them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.training.leave_out.figures import Scores, auc, share
from deepfake_core.training.leave_out.results import OF_SOURCE, RESULT, LeaveOneOut, LeftOut, write


def scores_of(source: str, fakes: int, reals: dict[str, int], shift: float, *, seed: int = 0) -> Scores:
    """Scores of a source and of real faces by their source; those of fakes are higher by ``shift`` log-odds."""
    rng = np.random.default_rng([seed, len(source), ord(source[0])])
    of = [source] * fakes + [name for name, count in reals.items() for _ in range(count)]
    fake = np.array([1] * fakes + [0] * (len(of) - fakes), np.int8)
    p_fake = 1 / (1 + np.exp(-rng.normal(0, 1, len(of)) - shift * (fake - 0.5)))
    names = [f"{name}/{number}.png" for number, name in enumerate(of)]
    return Scores(
        name=np.array(names, str),
        source=np.array(of, str),
        group=np.array([f"{name}/{number // 2}" for number, name in enumerate(of)], str),
        fake=fake,
        left_out=np.array(of, str) == source,
        p_fake=p_fake,
        found=p_fake >= 0.5,
        called_fake=p_fake >= 0.7,
    )


def write_results(folder: Path, shift: float, *, lr: float = 1e-3) -> LeaveOneOut:
    """Results of three sources: one with both classes, one of fakes, one of real faces."""
    rows = []
    for source, fakes, reals in (
        ("both", 60, {"both": 60}),
        ("made", 60, {"both": 60, "taken": 40}),
        ("taken", 0, {"taken": 80}),
    ):
        scores = scores_of(source, fakes, reals, shift)
        ours, theirs = scores[scores.fake == 1], scores[scores.left_out & (scores.fake == 0)]
        run = folder / source
        run.mkdir(parents=True)
        scores.write(run)
        row = LeftOut(
            source=source, run=source, real=len(theirs), fake=fakes, groups=60, total=fakes + len(theirs),
            against=tuple(reals) if fakes else (), auc=auc(scores), found=share(ours, ours.found),
            called_fake=share(ours, ours.called_fake), false_fake=share(theirs, theirs.called_fake), steps=7,
            warnings=("it has no real faces",) if source == "made" else (),
        )  # fmt: skip
        write(row, run / OF_SOURCE)
        rows.append(row)
    recipe = TrainRecipe(phases=(Phase(steps=7, lr=lr),))
    found = LeaveOneOut(detector="tiny", recipe=recipe, data="faces", content="0" * 64, faces=200).with_results(rows)
    write(found, folder / RESULT)
    return found
