"""Data-loading processes: how they start, what they send, and what is said when they fail."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import Pixels

from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.errors import DeepfakeError, TrainingDataError
from deepfake_core.training import workers

KEYS = [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4), (0, 5)]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests fork")


class Mapped(TrainingSet):
    """Samples in a memory map, one of which does something else in a loading process."""

    def __init__(self, pixels: np.ndarray, strange=None) -> None:
        self.pixels, self.strange = pixels, strange

    def __len__(self) -> int:
        return len(self.pixels)

    def order(self, epoch: int) -> np.ndarray:
        return np.arange(len(self))

    def __getitem__(self, key):
        if key[1] == 2 and self.strange is not None:
            self.strange()
        return {"images": torch.from_numpy(np.array(self.pixels[key[1]])[None])}

    def name(self, item: int) -> str:
        return f"picture{item}.png"


@pytest.fixture
def pixels(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "pixels.npy", np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8))
    return np.load(tmp_path / "pixels.npy", mmap_mode="r")


def taken(data: TrainingSet, count: int) -> list[dict[str, torch.Tensor]]:
    return list(workers.batches(data, KEYS, count, pin_memory=False, awaited=lambda: ["picture2.png", "picture3.png"]))


def test_little_shared_memory_changes_the_way_of_the_samples_and_nothing_else(monkeypatch, caplog):
    wanted = taken(Pixels(), 0)
    monkeypatch.setattr(workers, "_free_bytes", lambda: 1000)
    found = taken(Pixels(), 2)
    assert [sorted(batch) for batch in found] == [sorted(batch) for batch in wanted]
    for one, other in zip(wanted, found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    (note,) = caplog.messages
    assert "/dev/shm has too little room" in note
    assert "--shm-size" in note


def test_shared_memory_that_cannot_be_used(monkeypatch, caplog):
    def refuse(items):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(workers, "default_collate", refuse)
    assert len(taken(Pixels(), 1)) == 3
    assert "too little room" in caplog.text
    with pytest.raises(RuntimeError, match="No space left"):
        taken(Pixels(), 0)


def test_processes_that_cannot_be_started(pixels, monkeypatch, caplog):
    def refuse(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(multiprocessing, "Lock", refuse)
    assert len(taken(Mapped(pixels), 2)) == 3
    (note,) = caplog.messages
    assert "no data-loading process can be started (/dev/shm: No space left on device)" in note


def test_shared_memory_that_suffices_is_used(caplog):
    assert len(taken(Pixels(), 1)) == 3
    assert not caplog.messages


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGKILL])
def test_a_process_that_is_killed(pixels, number):
    with pytest.raises(DeepfakeError, match=r"a data-loading process has ended .*--set workers=0") as refused:
        taken(Mapped(pixels, lambda: os.kill(os.getpid(), number)), 1)
    assert "\n" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_an_error_of_a_sample_keeps_its_message(pixels):
    def fail() -> None:
        raise TrainingDataError("picture2.png: has changed")

    for count in (0, 1):
        with pytest.raises(TrainingDataError) as refused:
            taken(Mapped(pixels, fail), count)
        assert str(refused.value) == "picture2.png: has changed"


def test_a_process_that_hangs_is_named_and_not_waited_for_without_end(pixels, monkeypatch, caplog):
    monkeypatch.setattr(workers, "_LOOK_S", 0.1)
    monkeypatch.setattr(workers, "NOTICE_S", 0.2)
    monkeypatch.setattr(workers, "LIMIT_S", 0.5)
    slow = Mapped(pixels, lambda: time.sleep(1.5))
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(DeepfakeError, match=r"has not answered for \d+ s; it makes picture2\.png"),
    ):
        taken(slow, 1)
    assert caplog.messages
    assert "waiting for a data-loading process since 0 s; it makes picture2.png, picture3.png" in caplog.messages[0]


def test_a_slow_process_is_waited_for(pixels, monkeypatch):
    monkeypatch.setattr(workers, "_LOOK_S", 0.1)
    monkeypatch.setattr(workers, "NOTICE_S", 0.2)
    assert len(taken(Mapped(pixels, lambda: time.sleep(0.5)), 1)) == 3


def test_memory_maps_are_sent_as_places_in_files(pixels):
    whole = np.broadcast_to(np.zeros(1, np.uint8), (1,))
    for array in (pixels, pixels[2:5], pixels.view(np.ndarray)[1:]):
        state = workers._Items(Mapped(array)).__getstate__()
        assert len(state) < 1000 < array.nbytes
        again = workers._Items(Mapped(whole))
        again.__setstate__(state)
        np.testing.assert_array_equal(again.data.pixels, array)
    for array in (pixels[:, ::2], pixels.copy()):
        again.__setstate__(workers._Items(Mapped(array)).__getstate__())
        np.testing.assert_array_equal(again.data.pixels, array)


def test_data_that_cannot_be_sent(pixels, tmp_path):
    with pytest.raises(TrainingDataError, match=r"cannot be sent to data-loading processes .*or set workers=0"):
        workers._Items(Mapped(pixels, lambda: None)).__getstate__()
    state = workers._Items(Mapped(pixels)).__getstate__()
    (tmp_path / "pixels.npy").unlink()
    received = workers._Items.__new__(workers._Items)
    received.__setstate__(state)
    assert "cannot be sent" in received.__getitems__([(0, 0)])


def test_the_start_method_is_that_of_the_program_or_a_fork(monkeypatch):
    methods = multiprocessing.get_all_start_methods()
    for chosen, wanted in ((None, "fork"), (methods[0], "fork"), ("spawn", "spawn"), ("forkserver", "forkserver")):
        monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none, chosen=chosen: chosen)
        assert workers.start_method() == wanted
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: None)
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr(sys, "platform", "darwin")
    assert workers.start_method() == "spawn"


PROGRAM = """
import multiprocessing
multiprocessing.set_start_method("spawn", force=True)
import torch
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.workers import batches

class Set(TrainingSet):
    def __len__(self): return 4
    def order(self, epoch): return None
    def __getitem__(self, key): return {"images": torch.zeros(1)}

try:
    print(len(list(batches(Set(), [[(0, 0)], [(0, 1)]], 1, pin_memory=False, awaited=list))))
except DeepfakeError as error:
    print(error)
"""


def test_a_program_without_a_guard(tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=180)
    (line,) = program.stdout.splitlines()
    assert 'if __name__ == "__main__":' in line
    assert "workers=0" in line
    assert program.stderr == ""


def test_a_program_from_standard_input(pixels, monkeypatch):
    monkeypatch.setattr(workers, "start_method", lambda: "spawn")
    main = type(sys)("__main__")
    main.__file__, main.__spec__ = "<stdin>", None
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(DeepfakeError, match=r"<stdin> is no file; write it to a file .*\(workers=0\)"):
        taken(Mapped(pixels), 1)
    assert len(taken(Mapped(pixels), 0)) == 3
