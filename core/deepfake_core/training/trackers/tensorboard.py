"""TensorBoard as a tracker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepfake_core.errors import MissingExtra
from deepfake_core.training.recipes.settings import flat
from deepfake_core.training.trackers.base import Ending, Tracker


class TensorBoard(Tracker):
    """Event files of TensorBoard.

    Args:
        folder: Folder of the event files.

    Raises:
        MissingExtra: The ``tensorboard`` package is absent.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise MissingExtra("TensorBoard", "deepfake-core[torch]")
        self.folder = folder
        self.writer: Any = None

    def start(self, settings: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Readers order the files by name, which begins with the second in which the file was made: wait for a new one.
        now = int(time.time())
        while any(self.folder.glob(f"events.out.tfevents.{now}.*")) and int(time.time()) == now:
            time.sleep(0.02)
        # Readers then drop the later steps of the earlier files, so that no curve doubles back.
        purge = step + 1 if step else 0
        self.writer = SummaryWriter(str(self.folder), purge_step=purge, flush_secs=10)
        rows = [f"| {key} | {value} |" for key, value in flat(settings).items()]
        self.writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self.writer.flush()

    def close(self, ending: Ending) -> None:  # noqa: ARG002 - event files do not record how a run ended
        self.writer.close()
